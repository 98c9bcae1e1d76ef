"""In which order resident models leave: the contract of a policy, and the plainest one.

A policy knows residents, and may remember models that left; no call may cost more when more are remembered.
Policies see no clock: whatever they know of time came with a use or is given with the question.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple, Protocol

from overbook.residency.events import ModelName


class Standing(NamedTuple):
    """What a policy may judge a resident by. ``last_used`` in seconds, -inf for never; lower priority leaves first.

    ``size``: bytes that come back when it leaves. ``load_seconds``: what bringing it back is expected to take.
    """

    priority: int
    last_used: float
    size: int
    load_seconds: float


class EvictionOrder(Protocol):
    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        """The model is resident; again whenever its standing changes. ``used``: because of a use."""
        ...

    def discard(self, model: ModelName) -> None:
        """It leaves memory, or was not there."""
        ...

    def forget(self, model: ModelName) -> None:
        """It is assigned here no longer: nothing of it need be remembered."""
        ...

    def order(self, now: float) -> Iterator[ModelName]:
        """First to leave first."""
        ...


class _Level:
    """Residents of one priority. Usage mostly arrives in order of time, so sorting is put off until it matters."""

    __slots__ = ("newest", "sorted", "times")

    def __init__(self) -> None:
        self.times: dict[ModelName, float] = {}
        self.newest = -math.inf
        self.sorted = True

    def place(self, model: ModelName, last_used: float) -> None:
        self.times.pop(model, None)
        self.times[model] = last_used
        if last_used < self.newest:
            self.sorted = False
        else:
            self.newest = last_used

    def order(self) -> dict[ModelName, float]:
        if not self.sorted:
            self.times = dict(sorted(self.times.items(), key=itemgetter(1)))
            self.sorted = True
        return self.times


class LeastRecentlyUsed:
    """Lower priority first; within one priority the longest unused first, by time and not by time of report.

    ``place`` and ``discard`` are O(1). ``order`` costs what is consumed, after a sort of those whose usage was
    reported out of order (nearly sorted already, so about linear).
    """

    __slots__ = ("_levels", "_priority_of")

    def __init__(self) -> None:
        self._levels: dict[int, _Level] = {}
        self._priority_of: dict[ModelName, int] = {}

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        priority = standing.priority
        if self._priority_of.get(model, priority) != priority:
            self.discard(model)
        self._priority_of[model] = priority
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
        level.place(model, standing.last_used)

    def discard(self, model: ModelName) -> None:
        priority = self._priority_of.pop(model, None)
        if priority is None:
            return
        times = self._levels[priority].times
        del times[model]
        if not times:
            del self._levels[priority]

    def forget(self, model: ModelName) -> None:
        self.discard(model)

    def order(self, now: float) -> Iterator[ModelName]:
        for priority in sorted(self._levels):
            yield from self._levels[priority].order()
