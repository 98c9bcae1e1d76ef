"""What holding a model back does to it and to those who wait for it. Pure; who decides on it is the agent."""

from __future__ import annotations

from overbook.residency.effects import Refusal
from overbook.residency.events import HoldBack
from overbook.residency.replica import Entry, ReplicaState
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
    held = replica.held_back(entry, now)
    if held is None:
        return
    replica.warm.drop(entry.model)
    if entry.given_up and entry.state is State.COLD:
        replica.step(entry, Step.HOLD)
    replica.reject_all(entry, Refusal.LOAD_FAILED, *held)
