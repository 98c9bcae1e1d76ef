"""Sums, and what those who wait are waiting for, read from the replica. Nothing is changed or decided here."""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from overbook.residency import next_load
from overbook.residency.events import ModelName
from overbook.residency.replica import ReplicaState
from overbook.residency.states import SERVING, State

# Of residents and of those that wait. The first come first, so what is longest in the way, or starves, is soon there.
_LOOKED_AT: Final = 64
# Models in use that are worth asking the inference server about.
_AWAITED: Final = 8


class Statistics(NamedTuple):
    """Sums over one replica: bytes charged, of budget and withheld, waiting requests, models by state."""

    charged: int
    budget: int
    waiting: int
    assigned: int
    resident: int
    withheld: int = 0


def statistics(replica: ReplicaState) -> Statistics:
    return Statistics(
        charged=replica.ledger.total,
        budget=replica.ledger.budget,
        waiting=len(replica.waiting),
        assigned=len(replica.entries),
        resident=sum(replica.entries[model].state in SERVING for model in replica.ledger.charges),
        withheld=replica.ledger.withheld,
    )


def awaited(replica: ReplicaState, now: float) -> list[ModelName]:
    """Models whose last requests somebody waits for, first to leave first; none when nobody does.

    The meters tell the end of a request late. Where the inference server itself can say that nothing of such a model is
    in flight, a `UsageSeen` at that moment ends the wait. Some of them, if there are many.
    """
    if not replica.blocked:
        return []
    found = (
        entry.model
        for entry in islice(replica.residents(now), _LOOKED_AT)
        if entry.in_flight and not (entry.granted or entry.verifying or entry.pinned)
        if entry.state is State.RESIDENT
    )
    return list(islice(found, _AWAITED))


def starved(replica: ReplicaState) -> bool:
    """Whether somebody waits for a model that fits the budget, but not what is left beside withheld bytes."""
    room = replica.ledger.budget - replica.ledger.withheld - replica.sums.pinned_bytes
    waiting = (replica.entries[model] for model in islice(replica.pending, _LOOKED_AT))
    return any(next_load.size(replica, entry) > room for entry in waiting)
