"""Cold models by heat, the hottest at hand. A data structure, no policy."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from overbook.residency.events import ModelName

# Whether pinned, priority, last use in seconds; larger is hotter.
Heat = tuple[bool, int, float]
_Place = tuple[int, int, float, int, ModelName]

# The heap keeps places that are void until they surface, or until there are so many more of them than of others.
_VOID = 64


class Shelf:
    """Every call is O(log n) or better, amortised. Equals come in the order in which they were put."""

    __slots__ = ("_heap", "_place_of", "_serial")

    def __init__(self) -> None:
        self._place_of: dict[ModelName, _Place] = {}
        self._heap: list[_Place] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._place_of)

    def __contains__(self, model: ModelName) -> bool:
        return model in self._place_of

    def __iter__(self) -> Iterator[ModelName]:
        return iter(self._place_of)

    def put(self, model: ModelName, heat: Heat) -> None:
        """Also anew, with another heat."""
        pinned, priority, last_used = heat
        self._serial += 1
        place = (-pinned, -priority, -last_used, self._serial, model)
        self._place_of[model] = place
        heapq.heappush(self._heap, place)
        if len(self._heap) > 2 * len(self._place_of) + _VOID:
            self._heap = list(self._place_of.values())
            heapq.heapify(self._heap)

    def drop(self, model: ModelName) -> None:
        self._place_of.pop(model, None)

    def take(self) -> ModelName | None:
        """The hottest, which leaves the shelf; None when it is empty."""
        while self._heap:
            place = heapq.heappop(self._heap)
            if self._place_of.get(place[4]) is place:
                del self._place_of[place[4]]
                return place[4]
        return None
