"""How a process stops: the first signal asks for an orderly end within a grace, the second ends everything at once.

Knows no part: `Leaver` is what each of them does about it, and in which order is said by `up` and `serve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, Protocol

import psutil

log = logging.getLogger(__name__)

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
# What runs is counted and said anew so often; seconds.
_LOOK_SECONDS: Final = 0.25
_SAY_SECONDS: Final = 2.0
# For what was cut to be told to clients; seconds.
_REFUSE_SECONDS: Final = 2.0


class Leaver(Protocol):
    """A part that can leave in good order. Its `run` is cancelled after that."""

    @property
    def running(self) -> int:
        """How many requests are not answered yet, as far as it knows."""
        ...

    def leave(self) -> None:
        """Say that nobody should come any more; who comes all the same is served."""
        ...

    async def drain(self) -> None:
        """Send away who comes, and return when nothing runs any more. May be cancelled at any time."""
        ...

    async def refuse(self, why: str) -> None:
        """The grace is over: answer with this reason what waits, and let nothing hold up the end."""
        ...


class Part(Leaver, Protocol):
    """The scheduler, a gateway or an agent: made from its configuration, it serves while `run` runs.

    ``serving`` is set while it does. It stops in this order: `leave`, `drain`, `refuse` where the grace is over, and
    the end of `run`.
    """

    serving: asyncio.Event

    async def run(self) -> None:
        """Until cancelled."""
        ...


class Stop:
    """The stop of this process. ``grace``: seconds from the first signal for requests that run."""

    def __init__(self, grace: float, say: Callable[[str], None] | None = None) -> None:
        self._grace = grace
        self._say = say or _to_terminal
        self._until = math.inf
        self.asked: Final = asyncio.Event()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM are ours while the block runs."""
        loop = asyncio.get_running_loop()
        for signum in _SIGNALS:
            loop.add_signal_handler(signum, self._first_signal)
        try:
            yield
        finally:
            for signum in _SIGNALS:
                loop.remove_signal_handler(signum)

    def begin(self) -> None:
        """The grace begins, if it has not begun."""
        if self._until == math.inf:
            self._until = asyncio.get_running_loop().time() + self._grace

    async def let_leave(self, part: Leaver, task: asyncio.Task[None]) -> bool:
        """Until nothing runs in the part, its task ends, or the grace is over: then False, and what runs is refused."""
        self.begin()
        part.leave()
        draining = asyncio.create_task(part.drain(), name=f"drain {task.get_name()}")
        try:
            await self._wait(part, draining, task)
        finally:
            draining.cancel()
            await asyncio.wait({draining})
        if task.done():
            return True
        if not draining.cancelled():
            if (error := draining.exception()) is None:
                return True
            log.error("%s could not drain", task.get_name(), exc_info=error)
        await self._refuse(part)
        return False

    async def _wait(
        self, part: Leaver, draining: asyncio.Task[None], task: asyncio.Task[None]
    ) -> None:
        said, said_at = 0, -math.inf
        loop = asyncio.get_running_loop()
        while (left := self._until - loop.time()) > 0:
            done, _ = await asyncio.wait(
                {draining, task},
                timeout=min(_LOOK_SECONDS, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if done:
                return
            running, now = part.running, loop.time()
            if running and running != said and now >= said_at + _SAY_SECONDS:
                said, said_at = running, now
                self._say(waiting_line(running, max(0.0, self._until - now)))

    async def _refuse(self, part: Leaver) -> None:
        running = part.running
        if running:
            self._say(f"stopping: {_requests(running)} cut after {self._grace:g} s")
        why = f"Overbook is stopping, and {self._grace:g} s of grace are over; try again"
        try:
            async with asyncio.timeout(_REFUSE_SECONDS):
                await part.refuse(why)
        except TimeoutError:
            log.error("what was cut could not be told to all clients")

    def _first_signal(self) -> None:
        self.begin()
        self.asked.set()
        self._say("stopping...")
        loop = asyncio.get_running_loop()
        for signum in _SIGNALS:
            loop.remove_signal_handler(signum)
            # Not by the event loop: what must end at once may be what keeps the loop busy.
            signal.signal(signum, _end_at_once)


def waiting_line(running: int, left: float) -> str:
    """What people at the terminal read while requests run. ``left``: seconds of the grace."""
    return (
        f"stopping: {_requests(running)} still run{'s' if running == 1 else ''}, "
        f"up to {math.ceil(left)} s; press Ctrl-C again to end at once"
    )


def say_stopped() -> None:
    """The last word of a process that ended in good order."""
    _to_terminal("stopped")


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"


def _to_terminal(line: str) -> None:
    # Whoever read our output may have left before us.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _end_at_once(signum: int, _: FrameType | None) -> None:
    """The second signal: the programs that we started are killed with all of theirs, and so this process ends.

    What is durable was written before it was acknowledged, so nothing is lost by that.
    """
    own = psutil.Process()
    for child in own.children():
        # Inference servers and Envoy lead groups of their own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    with contextlib.suppress(OSError):
        os.write(2, b"ended at once\n")
    os._exit(128 + signum)
