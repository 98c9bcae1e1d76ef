"""For how long an inference server has said nothing although it owes answers. Pure.

Time counts only while the process could have answered: not while it was stopped, nor while it waited for a processor or
a disk, and of a look that came late (the agent itself had no processor, the machine was asleep) no more than a look
that came in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overbook.agent.deaths import CallKind

# By how much a look may come late, as a factor, for all of its time to count.
_LATE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the process since the last look. Times in seconds.

    ``passed``: since then; ``usual``: between two looks. ``starved``: of that, what its main thread waited for a
    processor. ``halted``: it was seen stopped, or waiting for a disk. ``owes``: loads or requests are in it.
    ``blocking``: see `Calls`.
    """

    passed: float
    usual: float
    answered: bool
    owes: bool
    starved: float = 0.0
    halted: bool = False
    blocking: frozenset[tuple[str, CallKind]] = frozenset()

    @property
    def counts(self) -> float:
        """Seconds in which it could have answered."""
        if self.halted:
            return 0.0
        return max(0.0, min(self.passed, _LATE * self.usual) - self.starved)


@dataclass(frozen=True, slots=True)
class Silence:
    """``seconds`` that count; 0: it answers. ``blocking``: whose code was seen to be in the way at each look."""

    seconds: float = 0.0
    blocking: frozenset[tuple[str, CallKind]] = frozenset()

    def after(self, look: Look) -> Silence:
        """What is known after another look."""
        if look.answered or not look.owes:
            return SPEAKS
        blocking = look.blocking & self.blocking if self.seconds else look.blocking
        return Silence(self.seconds + look.counts, blocking)


SPEAKS: Final = Silence()
