"""Lets whoever waits for an installation end it: installations run in threads, which nobody can stop from outside.

What works on one asks `check` now and then, and has its child processes run by `run` and `watched`; when the one who
waits is cancelled, these are killed and the work ends with `Abandoned`. Knows nothing of what is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Final, ParamSpec, TypeVar

from overbook.runtimes.children import Child, started

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Abandoned(BaseException):
    """Nobody waits for this work any more. Passes by whoever catches what goes wrong with it."""


class _Work:
    """What runs in one thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._abandoned = False

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._child is not None:
                self._child.end()

    def check(self) -> None:
        if self._abandoned:
            raise Abandoned

    @contextlib.contextmanager
    def child(self, child: Child) -> Iterator[None]:
        with self._lock:
            self._child = child
            if self._abandoned:
                child.end()
        try:
            yield
        finally:
            with self._lock:
                self._child = None
        self.check()


# Nobody abandons what is run without `in_thread`, as by a command.
_current: Final[ContextVar[_Work]] = ContextVar("installation", default=_Work())  # noqa: B039


def check() -> None:
    """Raises Abandoned if nobody waits for this any more."""
    _current.get().check()


@contextlib.contextmanager
def watched(child: Child) -> Iterator[None]:
    """The child is ended when nobody waits for this any more, and Abandoned is raised at the end."""
    with _current.get().child(child):
        yield


def run(
    command: Sequence[str], *, seconds: float, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """The exit code, and what the command says on its standard error; one that cannot be run fails.

    Raises OSError, TimeoutExpired, Abandoned.
    """
    with started(command, env=env) as child, watched(child):
        _, said = child.process.communicate(timeout=seconds)
        return child.process.returncode, said


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """As `asyncio.to_thread`, but cancelled it ends the work, and returns when that has ended.

    Each work has a thread of its own: those that the loop lends are few, and some that last would leave none to others.
    """
    work = _Work()
    context = copy_context()
    context.run(_current.set, work)
    executor = ThreadPoolExecutor(1, "installation")
    running = asyncio.get_running_loop().run_in_executor(
        executor, partial(context.run, partial(function, *args, **kwargs))
    )
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        work.abandon()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # it was ended: whatever it says of that is of no use
        raise
    finally:
        executor.shutdown(wait=False)
