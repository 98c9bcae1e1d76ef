"""Bytes of the process that no model accounts for: what is withheld from the budget, and what is lost. Pure.

The law that is kept: what the process holds never exceeds its base, the slack, the charges and what is withheld, at
any moment at which it was looked at. The base is its size when it was empty; the slack (`slack_of`) is for the
server's own comings and goings: imports, buffers, fragments. What exceeds them is withheld until it is seen to be
gone. Less is believed at once; more only when it lasts, because inference borrows memory for a moment, or when an
unload did not give its bytes back in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from overbook.agent.memory.estimates import NOISE

# Seconds, and looks, for which an excess must have lasted before it is withheld. A model that is asked without pause
# borrows nearly all the time: with three looks in three seconds that was taken for lost, and the process replaced.
LASTS: Final = 10.0
LOOKS: Final = 5
# What many comings and goings leave in a process without any model: 17 to 26 MB, in Python's pools of small objects,
# half filled by what lives on. It does not grow with the budget.
_FRAGMENTS: Final = 24 << 20
_LEAST_PASSING: Final = 8 << 20
_PASSING_SHARE: Final = 100


def slack_of(budget: int) -> int:
    """Bytes beside base and budget that are nobody's business: 24 MiB for fragments, and `passing_of`."""
    return _FRAGMENTS + passing_of(budget)


def passing_of(budget: int) -> int:
    """Bytes by which loads, and models that turn out larger, may exceed the budget for a moment: a hundredth of it, and
    at least 8 MiB.
    """
    return max(_LEAST_PASSING, budget // _PASSING_SHARE)


@dataclass(slots=True)
class Unattributed:
    """``withheld``: bytes that models may not have. ``base``: of the empty process. All in bytes."""

    slack: int
    base: int = 0
    withheld: int = 0
    _least: int = 0
    _looks: int = 0
    _since: float | None = None

    def ceiling(self, charged: int) -> int:
        """What the process may hold while models are charged with so much."""
        return self.base + self.slack + self.withheld + charged

    def began(self, base: int) -> None:
        """A new, empty process."""
        self.base, self.withheld, self._since = base, 0, None

    def observe(self, held: int, charged: int, now: float) -> bool:
        """Take in what the process holds. True when what is withheld changed."""
        excess = self._excess(held, charged)
        if excess <= self.withheld:
            self._since = None
            return self._withhold(excess)
        if self._since is None:
            self._since, self._least, self._looks = now, excess, 0
        self._least = min(self._least, excess)
        self._looks += 1
        if now - self._since < LASTS or self._looks < LOOKS:
            return False
        self._since = None
        return self._withhold(self._least)

    def fell_short(self, held: int, charged: int) -> bool:
        """An unload did not give back in time what it was charged; ``charged``: the others. True on a change."""
        return self._withhold(self._excess(held, charged))

    def absorb(self) -> None:
        """What is withheld belongs to the server itself: it came back at once in a new process."""
        self.base, self.withheld = self.base + self.withheld, 0

    def _excess(self, held: int, charged: int) -> int:
        return max(0, held - self.base - self.slack - charged)

    def _withhold(self, size: int) -> bool:
        # Not every page that comes and goes is worth an event, but its end is.
        if size == self.withheld or (size and abs(size - self.withheld) < NOISE):
            return False
        self.withheld = size
        return True
