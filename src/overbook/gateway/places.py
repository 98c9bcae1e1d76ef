"""Pure bookkeeping: which places exist, their slots, and which are hot.

A place is a model on one replica; its slot is its number among the model's places (see
`snapshot.names`). No I/O here: `router` publishes what this says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overbook.gateway.grants import Tally
from overbook.gateway.snapshot.names import MAX_SLOTS, Protocol, marks


@dataclass(slots=True)
class Place:
    """A model on one replica.

    ``hot``: requests may go there without asking its agent. ``direct``: since it was last seen without a request in
    flight, some may have gone there past the gateway. ``granted_at``: when a request was last let through to it.
    ``tally``: of those, against Envoy's counter.
    ``clusters``: its clusters, with the revision of the xDS feed that Envoy must have for the newest of each.
    """

    model: str
    replica: str
    slot: int
    hot: bool = False
    direct: bool = False
    granted_at: float = 0.0
    tally: Tally = field(default_factory=Tally)
    clusters: dict[Protocol, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, int]:
        """How Envoy's statistics name it."""
        return (self.model, self.slot)


class Places:
    """All places by model and by replica. A slot is kept until its place is dropped."""

    def __init__(self) -> None:
        self._by_model: dict[str, dict[str, Place]] = {}
        self._by_replica: dict[str, dict[str, Place]] = {}
        self._by_key: dict[tuple[str, int], Place] = {}

    def find(self, model: str, replica: str) -> Place | None:
        return self._by_model.get(model, {}).get(replica)

    def by_key(self, key: tuple[str, int]) -> Place | None:
        """The place that Envoy's statistics call (model, slot)."""
        return self._by_key.get(key)

    def of_model(self, model: str) -> list[Place]:
        return list(self._by_model.get(model, {}).values())

    def of_replica(self, replica: str) -> list[Place]:
        return list(self._by_replica.get(replica, {}).values())

    def cold(self) -> list[Place]:
        """Places that are not hot, those longest without a request first."""
        places = (place for place in self._by_key.values() if not place.hot)
        return sorted(places, key=lambda place: place.granted_at)

    def claim(self, model: str, replica: str) -> Place | None:
        """The place, made if need be. None when the model has no free slot."""
        held = self._by_model.setdefault(model, {})
        place = held.get(replica)
        if place is not None:
            return place
        taken = {other.slot for other in held.values()}
        slot = next((number for number in range(MAX_SLOTS) if number not in taken), None)
        if slot is None:
            return None
        place = Place(model=model, replica=replica, slot=slot)
        held[replica] = place
        self._by_replica.setdefault(replica, {})[model] = place
        self._by_key[place.key] = place
        return place

    def drop(self, place: Place) -> None:
        """Forget a place; its slot is free again."""
        del self._by_key[place.key]
        for index, outer, inner in (
            (self._by_model, place.model, place.replica),
            (self._by_replica, place.replica, place.model),
        ):
            del index[outer][inner]
            if not index[outer]:
                del index[outer]

    def protocols(self, model: str) -> set[Protocol]:
        """Those over which the model was asked for: its places have clusters for them."""
        return {protocol for place in self.of_model(model) for protocol in place.clusters}

    def marks(self, model: str) -> list[str]:
        """The marks that Envoy should have for this model if it is worth any."""
        hot = {place.slot: place.clusters for place in self.of_model(model) if place.hot}
        return marks(model, hot)
