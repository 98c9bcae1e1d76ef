"""Where a model that was told to leave ends up: forgotten, waited for, or cold. Events are checked in `core`."""

from __future__ import annotations

from overbook.residency.effects import Cause, Evicted
from overbook.residency.entry import Entry
from overbook.residency.fitting import refused
from overbook.residency.replica import ReplicaState
from overbook.residency.states import Step


def unloaded(replica: ReplicaState, entry: Entry, cause: Cause, now: float) -> None:
    """It has left memory. ``cause``: why."""
    replica.step(entry, Step.UNLOADED)
    entry.evictions += 1
    replica.emit(Evicted(entry.model, cause))
    if entry.removed:
        replica.forget(entry)
        return
    if replica.waiting.waiting_for(entry.model):
        replica.want(entry, now)
    elif cause is Cause.UPDATED:
        replica.warm_up(entry)
    elif cause not in (Cause.REQUESTED, Cause.DISK):
        replica.warm.put(entry.model, entry.heat)  # for when there is more room
    refused(replica, entry)  # perhaps only its load showed how large it is


def drain_deleted(replica: ReplicaState, entry: Entry, now: float) -> None:
    """What is in memory was deleted, and may have been replaced under its name since."""
    replica.begin_drain(entry, Cause.REMOVED if entry.removed else Cause.UPDATED, now)
