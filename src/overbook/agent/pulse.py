"""Asks a running inference server again and again whether it lives, until it has been silent for too long.

The shell around `silence`: probes, ``/proc`` and the clock. What follows from a silence is the supervisor's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.clock import Clock
from overbook.agent.deaths import CallKind, Calls
from overbook.agent.servers.protocol import InferenceServer
from overbook.agent.silence import SPEAKS, Look, Silence

# A server that owes answers and is not heard of for so long is replaced; seconds.
SILENCE_LIMIT: Final = 90.0
_PAUSE: Final = 5.0
_PATIENCE: Final = 600.0
_STOPPED: Final = "T"
# States in which no thread of a process can answer: stopped, traced, waiting for a disk.
_HALTED: Final = frozenset(f"{_STOPPED}tD")


@dataclass(frozen=True, slots=True)
class Silent:
    """It said nothing for so many ``seconds``. ``blocking``: whose code kept it from that, as far as it is known."""

    seconds: float
    blocking: frozenset[tuple[str, CallKind]]


class Pulse:
    """Of one server process after the other. ``owes``: whether loads or requests are in it, as the agent knows.

    ``limit``: seconds of silence; ``noticed``: is told of one that has lasted for a third of that, and of its end
    (None). One that somebody stopped (SIGSTOP) and that owes answers for so long is sent on: ``continued`` is told
    after how many seconds.
    """

    def __init__(
        self,
        server: InferenceServer,
        clock: Clock,
        *,
        limit: float,
        owes: Callable[[], bool],
        noticed: Callable[[Silent | None], None],
        continued: Callable[[float], None],
    ) -> None:
        self._server = server
        self._clock = clock
        self._limit = limit
        self._owes = owes
        self._noticed = noticed
        self._continued = continued
        self._stopped = 0.0

    async def wait_silent(self) -> Silent:
        """Until the process that runs now has been silent for too long."""
        silence, told, pause = SPEAKS, False, min(_PAUSE, self._limit / 6)
        last, waited, beat = self._clock.now(), _waited(self._server.pid), -1
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(self._ask(pause), name="ask whether it lives")
            while True:
                await asyncio.wait({asking}, timeout=pause)
                answered = asking.done() and asking.result()
                if asking.done():
                    asking = tasks.create_task(self._ask(pause), name="ask whether it lives")
                now, waits = self._clock.now(), _waited(self._server.pid)
                calls, state = self._server.open_calls() or Calls(), _state(self._server.pid)
                look = Look(
                    passed=now - last,
                    usual=pause,
                    answered=answered or calls.beat != beat,
                    owes=bool(calls.open) or self._owes(),
                    starved=max(0.0, waits - waited),
                    halted=state in _HALTED,
                    blocking=calls.blocking,
                )
                self._send_on(look, stopped=state == _STOPPED)
                last, waited, beat = now, waits, calls.beat
                silence = silence.after(look)
                if silence.seconds >= self._limit:
                    asking.cancel()
                    return _silent(silence)
                if told != (silence.seconds >= self._limit / 3):
                    told = not told
                    self._noticed(_silent(silence) if told else None)

    def _send_on(self, look: Look, *, stopped: bool) -> None:
        self._stopped = self._stopped + look.passed if stopped and look.owes else 0.0
        pid = self._server.pid
        if pid is not None and self._stopped >= self._limit / 3:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            self._continued(self._stopped)
            self._stopped = 0.0

    async def _ask(self, pause: float) -> bool:
        """After a pause. Patiently: one that is busy answers as soon as it comes to it, and is not asked anew."""
        await asyncio.sleep(pause)
        return await self._server.live(timeout=_PATIENCE)


def _silent(silence: Silence) -> Silent:
    return Silent(silence.seconds, silence.blocking)


def _waited(pid: int | None) -> float:
    """Seconds that its main thread was ready to run and did not; 0 where the kernel does not tell."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii")
        return int(told.split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _state(pid: int | None) -> str:
    """The letter by which the kernel tells what the process does; empty when it does not tell."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return told.rpartition(")")[2].lstrip()[:1]
