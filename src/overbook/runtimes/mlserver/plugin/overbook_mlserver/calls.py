"""Which models' code this process is in, in memory that outlives it: so deaths, and loops that hang, have suspects.

Theory of operation. The memory is the agent's, which can read it whatever this process does: after a crash it is
still there, and while a model blocks the event loop nobody here needs to answer. A call (a load, a request, an unload)
takes a place in it for as long as it lasts. While its code has the thread, its place says so: a coroutine is driven
here step by step, and between two steps, in which it waits for something, its place says "waiting". So of hundreds of
calls that are open on one event loop at most one is said to run there, and that is the one which ends or blocks the
process. Calls in other threads run beside it and have places of their own.

Costs about two microseconds for a request: no system call, no lock, no object that stays. When all places are taken,
which needs as many open calls, further ones go unrecorded. The agent reads the layout in its `mlserver.calls`.
Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import mmap
import os
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

MAGIC = b"overbook calls 1"
PLACES = 256
PLACE_BYTES = 256
# The first of them is for what is said of the process.
BYTES = (PLACES + 1) * PLACE_BYTES
# Behind the magic: whether the process was asked to end.
ENDING_AT = 32
# And a number that changes whenever a call goes on on the event loop: then the loop lives, however busy it is.
BEAT_AT = 33
# What a call is, in the second byte of its place.
LOAD, REQUEST, UNLOAD = 1, 2, 3
# What it does, in the first; then come the length of the model's name, and the name.
FREE, WAITING, ON_LOOP, IN_THREAD = 0, 1, 2, 3
_LONGEST_NAME = PLACE_BYTES - 3


class Escaped(Exception):
    """A model's code raised what is no error of its call but would end more than that, as ``sys.exit`` does, or a
    cancellation that nobody asked for. It ends its call only.
    """


class Calls:
    """Of one process. ``descriptor``: of the agent's memory, all zeros; it is closed here."""

    def __init__(self, descriptor: int) -> None:
        self._memory: mmap.mmap | bytearray = mmap.mmap(descriptor, BYTES)
        os.close(descriptor)
        self._memory[: len(MAGIC)] = MAGIC
        self._beat = 0
        self._free = deque(PLACE_BYTES * number for number in range(1, PLACES + 1))
        # The call that the code of this task, or thread, belongs to.
        self._current: contextvars.ContextVar[tuple[int, bytes] | None] = contextvars.ContextVar(
            "call", default=None
        )
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        # What a child of this process does says nothing about this process.
        self._memory = bytearray(BYTES)

    def end(self) -> None:
        """The process was asked to end: from now on nobody is suspected of its end."""
        self._memory[ENDING_AT] = 1

    async def during(self, kind: int, model: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work, which is a call of that kind. Raises Escaped."""
        name = model.encode()
        place = self._enter(kind, name, WAITING)
        token = self._current.set((kind, name))
        try:
            if place is None:
                return await work
            return await self._stepwise(place, work, ON_LOOP)
        except (Exception, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            raise Escaped(f"its code raised {error!r}") from error
        finally:
            self._current.reset(token)
            self._leave(place)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """In another thread, for the call whose context this is: its code has that thread while the block runs."""
        current = self._current.get()
        place = None if current is None else self._enter(*current, IN_THREAD)
        try:
            yield
        finally:
            self._leave(place)

    async def beside(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work on the event loop of another thread, for the call whose context this is."""
        current = self._current.get()
        place = None if current is None else self._enter(*current, WAITING)
        try:
            return await (work if place is None else self._stepwise(place, work, IN_THREAD))
        finally:
            self._leave(place)

    @types.coroutine
    def _stepwise(
        self, place: int, work: Coroutine[Any, Any, T], running: int
    ) -> Generator[Any, Any, T]:
        memory = self._memory
        step: Callable[[Any], Any] = work.send
        argument: Any = None
        while True:
            memory[place] = running
            if running == ON_LOOP:
                self._beat = (self._beat + 1) & 255
                memory[BEAT_AT] = self._beat
            try:
                wanted = step(argument)
            except StopIteration as end:
                return end.value
            finally:
                memory[place] = WAITING
            try:
                argument = yield wanted
                step = work.send
            except BaseException as error:
                step, argument = work.throw, error

    def _enter(self, kind: int, name: bytes, what: int) -> int | None:
        try:
            place = self._free.popleft()
        except IndexError:
            return None
        name = name[:_LONGEST_NAME]
        # The first byte last: a place that is read meanwhile is free.
        self._memory[place + 1 : place + 3 + len(name)] = b"%c%c%b" % (kind, len(name), name)
        self._memory[place] = what
        return place

    def _leave(self, place: int | None) -> None:
        if place is not None:
            self._memory[place] = FREE
            self._free.append(place)


def _cancelled() -> bool:
    """Whether somebody asked for the end of this task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


_calls: Calls | None = None


def record(descriptor: int) -> None:
    """From now on the calls of this process are recorded, in the memory that this is a descriptor of."""
    global _calls
    _calls = Calls(descriptor)


async def during(kind: int, model: str, work: Coroutine[Any, Any, T]) -> T:
    """`Calls.during`, where calls are recorded."""
    return await (work if _calls is None else _calls.during(kind, model, work))


async def beside(work: Coroutine[Any, Any, T]) -> T:
    """`Calls.beside`, where calls are recorded."""
    return await (work if _calls is None else _calls.beside(work))


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """`Calls.aside`, where calls are recorded."""
    with contextlib.nullcontext() if _calls is None else _calls.aside():
        yield


def within(work: Callable[..., T]) -> Callable[..., T]:
    """The work as another thread is to do it: on behalf of the call in which this is asked for."""
    context = contextvars.copy_context()

    def on_behalf(*arguments: Any) -> T:
        with aside():
            return work(*arguments)

    return lambda *arguments: context.run(on_behalf, *arguments)


def end() -> None:
    """`Calls.end`, where calls are recorded."""
    if _calls is not None:
        _calls.end()
