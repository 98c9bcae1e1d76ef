"""What holding a model back does to it and to those who wait for it, and what ends that: time, or a person who wants it
tried. Pure; who decides on it is the agent.
"""

from __future__ import annotations

from overbook.residency import next_load
from overbook.residency.allocation import newest_has_no_room
from overbook.residency.effects import Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import HoldBack
from overbook.residency.replica import ReplicaState
from overbook.residency.retries import Retries
from overbook.residency.states import State, Step


def hold_back(
    replica: ReplicaState, retries: Retries, entry: Entry, event: HoldBack, now: float
) -> None:
    """Take in the event for a model that is not in memory. Who waits is refused, unless an older content stands in."""
    good = entry.good
    if event.generation == entry.generation:
        retries.held_back(entry, event.reason, event.until)
    elif good is not None and good.generation == event.generation:
        retries.good_held_back(event.model, good, event.reason, event.until)
    else:
        return  # nobody would load it any more
    held = next_load.held_back(replica, entry, now)
    if held is None:
        return
    replica.warm.drop(entry.model)
    if entry.given_up and entry.state is State.COLD:
        replica.step(entry, Step.HOLD)
    replica.reject_all(entry, Refusal.LOAD_FAILED, *held)


def try_again(replica: ReplicaState, retries: Retries, entry: Entry) -> None:
    """A person wants it."""
    retries.forgive_good(entry)
    if entry.size > replica.ledger.budget:
        return  # its size is against it, and nobody can help that
    retries.forgive(entry)
    if entry.model in replica.unfit:
        entry.reason = newest_has_no_room(replica, entry)
    if entry.state is State.FAILED:
        replica.step(entry, Step.RESET)
    elif entry.state is State.RESIDENT:
        replica.mark_stale(entry)


def try_due(replica: ReplicaState, retries: Retries, now: float) -> None:
    """A model whose load failed is tried again by itself after its backoff, if there is room anyway (law 7)."""
    for entry in retries.take_due(replica.entries, now):
        if entry.state in (State.COLD, State.FAILED):
            replica.warm_up(entry)
        elif entry.state is State.RESIDENT:
            replica.mark_stale(entry)
