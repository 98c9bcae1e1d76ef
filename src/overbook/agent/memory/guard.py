"""The pressure guard: what to do before the kernel kills. Pure: `decide(sample, limits, state) -> Decision`.

Two things can run short. The process may hold more than budget, base and slack allow (models that allocate while
they infer); or the machine, or the control group, may run out of memory, whoever took it. In both cases room is
taken from the budget until idle models have made up for it; when the machine runs short and even that does not help,
new activations are refused. A process that holds too much on a machine that has enough refuses nobody: what a large
request's body leaves lies about in it until the next model comes or goes. Once the guard acts it goes on until there is
clearly enough again, so that it does not open and shut in turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SMALLEST_MARGIN: Final = 128 << 20
_MARGIN_SHARE: Final = 50  # a fiftieth of the machine
# Room is given back when this many times the margin is available.
_CLEAR: Final = 2
# Seconds of shortage, although room was taken, after which activations are refused.
_PATIENCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes. ``held``: by the process tree. ``charged``: to models. ``available``: until machine or group are full."""

    held: int
    charged: int
    available: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes. ``allowed``: what the tree may hold. ``reserve``: what inference may borrow. ``margin``: always free."""

    budget: int
    allowed: int
    reserve: int
    margin: int

    @property
    def low(self) -> int:
        """With less than this available the guard acts."""
        return self.margin + self.reserve


@dataclass(frozen=True, slots=True)
class Pressure:
    """``room``: the most that models may be charged with; None: the guard does nothing. ``since``: of the shortage."""

    room: int | None = None
    since: float | None = None
    refusing: bool = False

    def withheld(self, budget: int) -> int:
        """Bytes of the budget that are not to be used."""
        return 0 if self.room is None else max(0, budget - self.room)


CALM: Final = Pressure()


def margin_of(total: int) -> int:
    """Bytes of a machine (or control group) of this size that are left alone."""
    return min(max(_SMALLEST_MARGIN, total // _MARGIN_SHARE), total // 4)


def decide(sample: Sample, bounds: Bounds, before: Pressure, now: float) -> Pressure:
    """What the guard does now."""
    excess = sample.held - bounds.allowed - bounds.reserve
    shortage = max(excess, bounds.low - sample.available)
    if shortage <= 0:
        if before.room is None:
            return CALM
        clear = sample.available >= _CLEAR * bounds.low and excess + bounds.reserve <= 0
        return CALM if clear else Pressure(before.room)
    room = max(0, sample.charged - shortage)
    room = room if before.room is None else min(before.room, room)
    since = now if before.since is None else before.since
    late = bounds.low > sample.available and now - since >= _PATIENCE
    return Pressure(room, since, refusing=before.refusing or late)
