"""Who holds how many bytes of the budget. Arithmetic only: what to do about it is decided in `core`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from overbook.residency.events import ModelName


class Ledger:
    """Charges in bytes against a budget. `total` is kept, not summed, so every operation is O(1)."""

    __slots__ = ("_charges", "budget", "total")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.total = 0
        self._charges: dict[ModelName, int] = {}

    @property
    def charges(self) -> Mapping[ModelName, int]:
        return MappingProxyType(self._charges)

    @property
    def free(self) -> int:
        """Bytes left; negative when the budget shrank or a model turned out larger than charged."""
        return self.budget - self.total

    def of(self, model: ModelName) -> int:
        return self._charges.get(model, 0)

    def charge(self, model: ModelName, size: int) -> None:
        """Set what the model holds; 0 takes it off the books."""
        self.total += size - self._charges.get(model, 0)
        if size:
            self._charges[model] = size
        else:
            self._charges.pop(model, None)

    def clear(self) -> None:
        self._charges.clear()
        self.total = 0
