"""When an inference server's process is to be replaced, because it keeps memory that is nobody's. Pure.

What comes back at once in the new process was no loss: then it is the server's own (a framework that the first
model of its kind imports), and is counted to its base, once per process. Where even that did not bring peace, it
is a leak, and the next processes are not given the benefit of the doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

# A process that lost so much of the budget is replaced.
SHARE: Final = 0.2
# Less than this, in bytes, must have been lost for so long, in seconds: of what models share with others that left, 25
# MB were seen to come back with them, and a new process costs everybody a second or two. More than that is a leak.
SMALL: Final = 64 << 20
LASTS: Final = 10.0
# One that lost it faster than this (seconds), right after such a replacement, needs it.
_AT_ONCE: Final = 60.0
# One that lived as long as this, in seconds, after it was given that was no victim of a leak.
_PEACE: Final = 600.0
# Somebody waits in vain for bytes that are lost: so long, in seconds.
_STARVED: Final = 2.0


class Advice(Enum):
    NOTHING = "nothing"
    RECYCLE = "recycle"
    ABSORB = "absorb"


@dataclass(slots=True)
class Recycling:
    """What happened so far. ``started``: when the present process began to serve."""

    started: float = 0.0
    recycled: bool = False  # the present process replaced one that had lost too much
    absorbed: bool = False
    lost_since: float | None = None  # so much as `SHARE` of the budget
    starved_since: float | None = None
    leaks: bool = False

    def began(self, now: float, *, recycled: bool) -> None:
        self.started, self.recycled = now, recycled
        self.absorbed, self.lost_since, self.starved_since = False, None, None

    def advise(self, lost: int, budget: int, *, starved: bool, now: float) -> Advice:
        """``lost``: bytes. ``starved``: a model waits that fits the budget, but not beside what is lost."""
        self.starved_since = (self.starved_since or now) if starved and lost > 0 else None
        vain = self.starved_since is not None and now - self.starved_since >= _STARVED
        much = lost >= SHARE * budget
        if not much:
            self.lost_since = None
        elif self.lost_since is None:
            self.lost_since = now
        lasting = self.lost_since is not None and now - self.lost_since >= LASTS
        if not (lasting or vain or (much and lost >= SMALL)):
            return Advice.NOTHING
        age = now - self.started
        if self.recycled and not self.absorbed and not self.leaks and age < _AT_ONCE:
            self.absorbed = True
            return Advice.ABSORB
        self.leaks = (self.absorbed or self.leaks) and age < _PEACE
        return Advice.RECYCLE
