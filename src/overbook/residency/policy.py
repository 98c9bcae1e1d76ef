"""In which order resident models leave. Other orders are other classes with the same four methods.

A policy knows only residents, so nothing here grows with the number of cold models; every operation is O(1)
but the iteration, which costs what the caller consumes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from overbook.residency.events import ModelName


class EvictionOrder(Protocol):
    def used(self, model: ModelName, priority: int) -> None:
        """The model was used now; adds it when it is new."""
        ...

    def added_unused(self, model: ModelName, priority: int) -> None:
        """The model became resident without a request: it leaves before all that were used."""
        ...

    def discard(self, model: ModelName) -> None: ...

    def order(self) -> Iterator[ModelName]:
        """First to leave first."""
        ...


class LeastRecentlyUsed:
    """Lower priority first; within one priority the longest unused first."""

    __slots__ = ("_levels", "_priority_of")

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[ModelName, None]] = {}
        self._priority_of: dict[ModelName, int] = {}

    def used(self, model: ModelName, priority: int) -> None:
        self._place(model, priority)
        self._levels[priority].move_to_end(model)

    def added_unused(self, model: ModelName, priority: int) -> None:
        self._place(model, priority)
        self._levels[priority].move_to_end(model, last=False)

    def discard(self, model: ModelName) -> None:
        priority = self._priority_of.pop(model, None)
        if priority is None:
            return
        level = self._levels[priority]
        del level[model]
        if not level:
            del self._levels[priority]

    def order(self) -> Iterator[ModelName]:
        for priority in sorted(self._levels):
            yield from self._levels[priority]

    def _place(self, model: ModelName, priority: int) -> None:
        if self._priority_of.get(model, priority) != priority:
            self.discard(model)
        self._priority_of[model] = priority
        self._levels.setdefault(priority, OrderedDict()).setdefault(model, None)
