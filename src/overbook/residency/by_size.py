"""All assigned models by the bytes that each is believed to need, the largest at hand. A data structure, no policy."""

from __future__ import annotations

from overbook.residency.events import ModelName
from overbook.residency.shelf import Shelf


class BySize:
    """``total``: the bytes of all."""

    __slots__ = ("_shelf", "_size_of", "total")

    def __init__(self) -> None:
        self._shelf = Shelf()
        self._size_of: dict[ModelName, int] = {}
        self.total = 0

    def put(self, model: ModelName, size: int) -> None:
        """Also anew, with another size."""
        self.total += size - self._size_of.get(model, 0)
        self._size_of[model] = size
        self._shelf.put(model, (False, 0, float(size)))

    def drop(self, model: ModelName) -> None:
        self.total -= self._size_of.pop(model)
        self._shelf.drop(model)

    def larger_than(self, size: int) -> list[ModelName]:
        """All that need more bytes, the largest first; costs nothing for the others."""
        found: list[ModelName] = []
        while (model := self._shelf.take()) is not None:
            found.append(model)
            if self._size_of[model] <= size:
                break
        for model in found:
            self._shelf.put(model, (False, 0, float(self._size_of[model])))
        return [model for model in found if self._size_of[model] > size]
