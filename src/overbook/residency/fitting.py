"""Law 2: what is larger than the whole budget is refused, unless an older content stands in for it; and what a new
budget changes about that. Moves only; who calls them, and when, is in `core`.
"""

from __future__ import annotations

from overbook.manifests.quantities import amount
from overbook.residency import next_load
from overbook.residency.allocation import newest_has_no_room, no_room_reason
from overbook.residency.effects import Cause, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.replica import ReplicaState
from overbook.residency.states import State, Step


def refused(replica: ReplicaState, entry: Entry) -> bool:
    """Whether the newest content of a cold or failed model is larger than the budget; then its requests end, and it
    fails until size or budget changes. Where an older one stands in, only the reason is kept.
    """
    if entry.size <= replica.ledger.budget:
        return False
    if next_load.fallback(replica, entry) is not None:
        entry.reason = newest_has_no_room(replica, entry)
        replica.unfit[entry.model] = None
        return True
    replica.reject_all(entry, Refusal.NO_ROOM, no_room_reason(replica, entry), 0.0)
    replica.warm.drop(entry.model)
    replica.step(entry, Step.REFUSE)
    replica.refused[entry.model] = None
    entry.reason = no_room_reason(replica, entry)
    return True


def deadline_reason(replica: ReplicaState, model: ModelName) -> str:
    """What is told to a request that waited for room as long as it may."""
    entry = replica.entries[model]
    return (
        f"model '{model}' ({amount(next_load.size(replica, entry))}) did not become resident in time: "
        f"it is {entry.state.value}, {amount(replica.ledger.total)} of {amount(replica.ledger.budget)} are in use"
    )


def budget_changed(replica: ReplicaState, budget: int) -> None:
    """The surplus is evicted by `allocation`; here is who may come again, and who cannot any more."""
    replica.filling = replica.filling or budget > replica.ledger.budget
    replica.ledger.budget = budget
    replica.changed = True
    replica.deficit = Cause.BUDGET
    replica.reconsider_unfit()
    for model in tuple(replica.refused):
        entry = replica.entries[model]
        if entry.size <= budget:
            replica.step(entry, Step.RESET)
            entry.reason = entry.failure  # its backoff goes on
            replica.warm_up(entry)
        else:
            entry.reason = newest_has_no_room(replica, entry)
    for model in replica.by_size.larger_than(budget):
        if replica.entries[model].state is State.COLD:
            refused(replica, replica.entries[model])
