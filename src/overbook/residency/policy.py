"""In which order resident models leave. Other orders are other classes with the same three methods.

A policy knows only residents, so nothing here grows with the number of cold models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from operator import itemgetter
from typing import Protocol

from overbook.residency.events import ModelName


class EvictionOrder(Protocol):
    def place(self, model: ModelName, priority: int, last_used: float) -> None:
        """The model is resident and was last used then (seconds; -inf: never); again whenever that changes."""
        ...

    def discard(self, model: ModelName) -> None: ...

    def order(self) -> Iterator[ModelName]:
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

    def place(self, model: ModelName, priority: int, last_used: float) -> None:
        if self._priority_of.get(model, priority) != priority:
            self.discard(model)
        self._priority_of[model] = priority
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
        level.place(model, last_used)

    def discard(self, model: ModelName) -> None:
        priority = self._priority_of.pop(model, None)
        if priority is None:
            return
        times = self._levels[priority].times
        del times[model]
        if not times:
            del self._levels[priority]

    def order(self) -> Iterator[ModelName]:
        for priority in sorted(self._levels):
            yield from self._levels[priority].order()
