"""Who holds how many bytes of the budget, and how many are withheld from all.

Arithmetic only: what to do about it is decided in `core`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from overbook.residency.events import ModelName


class Ledger:
    """Charges in bytes against a budget. `total` is kept, not summed, so every operation is O(1)."""

    __slots__ = ("_charges", "budget", "total", "withheld")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.total = 0
        self.withheld = 0
        self._charges: dict[ModelName, int] = {}

    @property
    def charges(self) -> Mapping[ModelName, int]:
        """Every model on the replica, also one that was measured to take no bytes at all."""
        return MappingProxyType(self._charges)

    @property
    def free(self) -> int:
        """Bytes left; negative when the budget shrank, more is withheld, or a model turned out larger than charged."""
        return self.budget - self.withheld - self.total

    def of(self, model: ModelName) -> int:
        return self._charges.get(model, 0)

    def charge(self, model: ModelName, size: int) -> None:
        """Set what the model holds."""
        self.total += size - self._charges.get(model, 0)
        self._charges[model] = size

    def release(self, model: ModelName) -> None:
        """Take the model off the replica."""
        self.total -= self._charges.pop(model, 0)
