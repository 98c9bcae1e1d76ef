"""Runs what blocks, and cannot be told to stop, so that nobody waits for it longer than is said."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T], seconds: float, name: str) -> T:
    """What ``call`` returns or raises. Raises TimeoutError after ``seconds``; the thread is then left to itself.

    It is a thread of its own, since those of the loop would be waited for at the end, and others need them.
    """
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[T] = loop.create_future()

    def take(result: T) -> None:
        if not answered.done():
            answered.set_result(result)

    def fail(error: Exception) -> None:
        if not answered.done():
            answered.set_exception(error)

    def run() -> None:
        # The loop is closed where the process ends before the answer comes.
        with contextlib.suppress(RuntimeError):
            try:
                result = call()
            except Exception as error:
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(take, result)

    threading.Thread(target=run, daemon=True, name=name).start()
    async with asyncio.timeout(seconds):
        return await answered
