"""The policy that a Server asks for by name, which may change while models are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from overbook.residency.events import ModelName
from overbook.residency.policy import EvictionOrder, LeastRecentlyUsed, Standing
from overbook.residency.worth import Worth

DEFAULT: Final = "worth"
POLICIES: Final[Mapping[str, Callable[[], EvictionOrder]]] = {
    DEFAULT: Worth,
    "lru": LeastRecentlyUsed,
}


class ChosenOrder:
    """An `EvictionOrder`. A new policy begins with those that are in memory, and knows nothing of earlier uses."""

    __slots__ = ("_name", "_order", "_standings")

    def __init__(self, name: str = DEFAULT) -> None:
        self._name = name
        self._order = POLICIES[name]()
        self._standings: dict[ModelName, Standing] = {}

    def choose(self, name: str) -> None:
        """From now on this policy holds. To be called between two events of the core."""
        if name == self._name:
            return
        self._name = name
        self._order = POLICIES[name]()
        for model, standing in self._standings.items():
            self._order.place(model, standing, used=False)

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        self._standings[model] = standing
        self._order.place(model, standing, used=used)

    def discard(self, model: ModelName) -> None:
        self._standings.pop(model, None)
        self._order.discard(model)

    def forget(self, model: ModelName) -> None:
        self._standings.pop(model, None)
        self._order.forget(model)

    def order(self, now: float) -> Iterator[ModelName]:
        return self._order.order(now)
