"""What becomes of a request that arrives: granted at once, refused, or one of those that wait. A suspect, one that came
back from the inference server, waits until that was asked whether it has the model.
"""

from __future__ import annotations

from typing import Final

from overbook.residency import next_load, together
from overbook.residency.allocation import no_room_reason
from overbook.residency.effects import Cause, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import RequestArrived
from overbook.residency.replica import ReplicaState
from overbook.residency.states import State, Step

# A request for a model that leaves for one of these puts it back.
_RESCUED: Final = frozenset(
    {Cause.PRESSURE, Cause.AHEAD, Cause.REQUESTED, Cause.CALLEE, Cause.DISK}
)


def arrive(replica: ReplicaState, entry: Entry, event: RequestArrived, now: float) -> None:
    """For a model that is assigned here."""
    if together.rescuable(replica, entry, _RESCUED, now):
        replica.rescue(entry)
    if entry.serves:
        _for_serving(replica, entry, event, now)
    elif entry.state in (State.COLD, State.FAILED):
        _for_cold(replica, entry, event, now)
    else:
        _admit(replica, entry, event)


def _for_serving(replica: ReplicaState, entry: Entry, event: RequestArrived, now: float) -> None:
    if not event.suspect:
        replica.grant(entry, [event.request], now)
    elif _admit(replica, entry, event) and entry.state is State.RESIDENT:
        replica.begin_verify(entry)
    # While it reloads the suspect waits for the end of that, which settles what is there.


def _for_cold(replica: ReplicaState, entry: Entry, event: RequestArrived, now: float) -> None:
    no_room = no_room_reason(replica, entry)
    if no_room:
        replica.reject(event.request, Refusal.NO_ROOM, no_room)
    elif (held := next_load.held_back(replica, entry, now)) is not None:
        replica.reject(event.request, Refusal.LOAD_FAILED, *held)
    elif (callees := together.refusal(replica, entry, now)) is not None:
        replica.reject(event.request, *callees)
    elif _admit(replica, entry, event):
        replica.want(entry, now)
        together.call_back(replica, entry, _RESCUED, now)


def _admit(replica: ReplicaState, entry: Entry, event: RequestArrived) -> bool:
    """Whether it may wait."""
    limits, waiting = replica.limits, replica.waiting.waiting_for(entry.model)
    if len(replica.waiting) >= limits.max_waiting or waiting >= limits.max_waiting_per_model:
        reason = (
            f"{waiting} requests wait for model '{entry.model}' and {len(replica.waiting)} for all models of "
            f"this server replica; at most {limits.max_waiting_per_model} and {limits.max_waiting} may"
        )
        replica.reject(event.request, Refusal.OVERLOADED, reason, 1.0)
        return False
    replica.waiting.admit(event.request, entry.model, event.deadline)
    return True


def verified(replica: ReplicaState, entry: Entry, now: float, *, present: bool) -> None:
    """The inference server has said whether it has the model."""
    replica.set_verifying(entry, False)
    if entry.state is not State.RESIDENT:
        return  # it is leaving; who waits is served after that
    if present:
        replica.grant_all(entry, now)
        return
    replica.stale.pop(entry.model, None)
    replica.step(entry, Step.VANISHED)
    replica.leave_with(entry, now)
    if replica.waiting.waiting_for(entry.model):
        replica.want(entry, now)
