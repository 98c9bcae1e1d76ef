"""How an inference server's process ended, and what it was doing then: values, and the last of them.

What a process was doing is known as it wrote it down itself, where it does that (our MLServer), else from the loads
that the agent had asked it for. Judging is `blame`'s.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum
from typing import Final

# Signals by which people, supervisors and the kernel end a process: nobody in it did that.
_FROM_OUTSIDE: Final = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
)


class CallKind(Enum):
    """What is done with a model; the value completes "in a … of the model"."""

    LOAD = "load"
    REQUEST = "request"
    UNLOAD = "unload"


class Activity(Enum):
    """What a call does at a moment."""

    WAITING = "waiting"  # for something else than the processor
    ON_LOOP = "on the event loop"  # its code has the thread that serves everybody
    IN_THREAD = "in a thread"  # its code has a thread of its own


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a process had begun and not ended."""

    model: str
    kind: CallKind
    activity: Activity


@dataclass(frozen=True, slots=True)
class Calls:
    """All of one process at a moment. ``ending``: it had been asked to end, and did so. ``beat``: another number than
    before says that calls went on meanwhile.
    """

    open: tuple[Call, ...] = ()
    ending: bool = False
    beat: int = 0

    @property
    def begun(self) -> frozenset[tuple[str, CallKind]]:
        """Of which models, and for what, calls are open."""
        return frozenset((call.model, call.kind) for call in self.open)

    @property
    def suspects(self) -> frozenset[tuple[str, CallKind]]:
        """Whose code may have ended the process: of those that ran if any did, else of all that were open."""
        if self.ending:
            return frozenset()
        ran = [call for call in self.open if call.activity is not Activity.WAITING]
        return frozenset((call.model, call.kind) for call in ran or self.open)

    @property
    def ran(self) -> bool:
        """Whether any of them ran, and did not only wait."""
        return any(call.activity is not Activity.WAITING for call in self.open)

    @property
    def blocking(self) -> frozenset[tuple[str, CallKind]]:
        """Whose code may be what keeps the event loop from everybody: who has it, else who may hold the interpreter."""
        for activity in (Activity.ON_LOOP, Activity.IN_THREAD):
            found = {(call.model, call.kind) for call in self.open if call.activity is activity}
            if found:
                return frozenset(found)
        return frozenset()


@dataclass(frozen=True, slots=True)
class Death:
    """``at``: the agent's monotonic clock, seconds. ``reason``: in words. ``own_doing``: something in the process ended
    it, or made the agent end it; else it came from outside, and says nothing about anybody. ``calls``: as they stood.
    ``named``: whose doing it was, where the agent knows that better.
    """

    at: float
    reason: str
    own_doing: bool
    calls: Calls
    named: frozenset[tuple[str, CallKind]] = frozenset()

    @property
    def suspects(self) -> frozenset[tuple[str, CallKind]]:
        """Models, and what their code was doing, of which one may have ended the process."""
        if not self.own_doing:
            return frozenset()
        return self.named or self.calls.suspects

    @property
    def ran(self) -> bool:
        """Whether the code of the suspects was seen to run when the process ended, or to keep it from all else."""
        return bool(self.named) or self.calls.ran


def ended_itself(code: int) -> bool:
    """Whether the exit code (negative: the signal) is the doing of something inside the process."""
    return -code not in _FROM_OUTSIDE
