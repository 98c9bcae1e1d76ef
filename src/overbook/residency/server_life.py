"""What it means for memory that the inference server dies, or is to be replaced. Events are checked in `core`."""

from __future__ import annotations

from overbook.residency.effects import Cause
from overbook.residency.entry import Entry
from overbook.residency.replica import ReplicaState
from overbook.residency.states import State, Step


def down(replica: ReplicaState, now: float) -> None:
    """Nothing is in memory any more. Who was there may come back, last used first."""
    replica.up = replica.recycling = False
    replica.ledger.withheld = 0
    hot = list(replica.residents(now))
    serving = {entry.model for entry in hot}
    lost = [replica.entries[model] for model in replica.ledger.charges if model not in serving]
    for entry in (*hot, *lost):
        replica.step(entry, Step.LOST)
        replica.set_verifying(entry, False)
        if entry.removed:
            replica.forget(entry)
        elif replica.waiting.waiting_for(entry.model):
            replica.want(entry, now)
    replica.stale.clear()
    replica.unfit.clear()
    for entry in hot:
        if not entry.removed:
            replica.warm_up(entry)


def recycle(replica: ReplicaState, now: float) -> None:
    """All leave, and nothing is loaded until there is another process."""
    replica.up, replica.recycling = False, True
    hot = list(replica.residents(now))
    for entry in hot:
        if not entry.removed:
            replica.warm_up(entry)
    for entry in replica.draining.values():
        if entry.drain is not None and entry.drain.cause not in (Cause.REMOVED, Cause.UPDATED):
            entry.drain = entry.drain.because(Cause.RECYCLED)
    for entry in hot:
        if entry.state is State.RESIDENT:
            replica.begin_drain(entry, Cause.RECYCLED, now)


def leave_for_recycling(replica: ReplicaState, entry: Entry, now: float) -> None:
    """Its load ended after all others began to leave."""
    replica.warm_up(entry)
    replica.begin_drain(entry, Cause.RECYCLED, now)


def withhold(replica: ReplicaState, size: int) -> None:
    """So many bytes of the budget are nobody's."""
    replica.ledger.withheld, replica.changed = size, True
    replica.reconsider_unfit()
