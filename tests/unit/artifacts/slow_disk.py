"""Blocking work in virtual time: what is given to a thread is done a moment later, and others run meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class SlowDisk(ThreadPoolExecutor):
    """Has no thread. ``seconds``: until a piece of work is done, all of it at once; and as long until that is heard."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: Callable[[], float]) -> None:
        super().__init__(1)
        self._loop = loop
        self._seconds = seconds

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                self._loop.call_later(self._seconds(), future.set_exception, error)
            else:
                self._loop.call_later(self._seconds(), future.set_result, result)

        self._loop.call_later(self._seconds(), work)
        return future
