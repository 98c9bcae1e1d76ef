"""Models that call others: what has to serve before one is loaded, and who leaves together with whom.

Theory of operation. One model calls another inside the inference server, where nobody can hold the request until the
other is there. So all that a model calls serves whenever the model may be asked: it begins to load only when they do,
and one of them begins to leave only together with it. What is called is unloaded last, when no caller is charged any
more; until then both can be rescued. A use of a model is a use of all that it calls, so they are as young as it is.
Most of it reads only; `call_back` and `release` move.
"""

from __future__ import annotations

from collections.abc import Iterator

from overbook.manifests.quantities import amount
from overbook.residency import next_load
from overbook.residency.effects import Cause, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.files_leaving import leaves_for_good
from overbook.residency.planning import Candidate
from overbook.residency.promises import Promises
from overbook.residency.replica import ReplicaState
from overbook.residency.states import CHARGED, State

# In these a model may be asked, or is about to be: what it calls must be there.
_LEANING = frozenset({State.LOADING, State.RELOADING, State.RESIDENT})


def supported(replica: ReplicaState, entry: Entry) -> bool:
    """Whether all that the model calls serves."""
    callees = map(replica.entries.get, replica.calls.callees(entry.model))
    return all(callee is not None and callee.serves for callee in callees)


def rescuable(replica: ReplicaState, entry: Entry, causes: frozenset[Cause], now: float) -> bool:
    """Whether a model that leaves for one of these ``causes`` may be put back, with all that it calls."""
    if entry.drain is None or entry.drain.cause not in causes:
        return False
    if leaves_for_good(replica, entry, now):
        return False
    callees = map(replica.entries.get, replica.calls.callees(entry.model))
    return all(
        callee is not None and (callee.serves or rescuable(replica, callee, causes, now))
        for callee in callees
    )


def refusal(replica: ReplicaState, entry: Entry, now: float) -> tuple[Refusal, str, float] | None:
    """Why what the model calls keeps it from being loaded, and for how many seconds (0: no advice); else None."""
    below = replica.calls.below(entry.model)
    if not below:
        return None
    if entry.model in below:
        return Refusal.LOAD_FAILED, f"model '{entry.model}' calls itself by way of others", 0.0
    size = next_load.size(replica, entry)
    room = replica.sums.room_for(entry)
    for model in below:
        callee = replica.entries.get(model)
        if callee is None or callee.removed:
            continue  # it may be on its way; whoever waits has a deadline
        size += next_load.size(replica, callee)
        room += replica.sums.held_by_pin(callee)
        if callee.serves or callee.drain is not None:
            continue
        if (held := next_load.held_back(replica, callee, now)) is not None:
            why = f"model '{entry.model}' calls '{model}', which cannot be loaded: {held[0]}"
            return Refusal.LOAD_FAILED, why, held[1]
    if size > room:
        why = (
            f"model '{entry.model}' and what it calls ({', '.join(below)}) need {amount(size)} together, more than "
            f"the {amount(room)} that the server replica has for them"
        )
        return Refusal.NO_ROOM, why, 0.0
    return None


def hopeless(replica: ReplicaState, entry: Entry, now: float) -> str:
    """Why a model that is not in memory cannot come there as things are, because of what it calls; "" when it may.

    What ends by itself, such as the pause after a callee's failure, is no such reason.
    """
    if entry.state in CHARGED or (found := refusal(replica, entry, now)) is None:
        return ""
    _, why, retry_after = found
    return "" if retry_after else why


def call_back(replica: ReplicaState, entry: Entry, causes: frozenset[Cause], now: float) -> None:
    """Puts back what the model calls and what leaves for one of these ``causes``: somebody waits for the model."""
    for model in replica.calls.below(entry.model):
        callee = replica.entries.get(model)
        if callee is not None and rescuable(replica, callee, causes, now):
            replica.rescue(callee)


def missing(replica: ReplicaState, entry: Entry) -> ModelName | None:
    """The first that has to serve before the model can be loaded; None when all do."""
    for model in replica.calls.below(entry.model):
        callee = replica.entries.get(model)
        if callee is None or not callee.serves:
            return model
    return None


def wanted(replica: ReplicaState, model: ModelName) -> bool:
    """Whether a request waits for the model, or for one that calls it."""
    return any(
        replica.waiting.waiting_for(each)
        for each in (model, *replica.calls.all_callers())
        if each == model or model in replica.calls.below(each)
    )


def leaning(replica: ReplicaState, model: ModelName) -> tuple[ModelName, ...]:
    """Callers that must leave for it to leave."""
    callers = replica.calls.callers(model)
    return tuple(each for each in callers if _leans(replica, each))


def _leans(replica: ReplicaState, model: ModelName) -> bool:
    entry = replica.entries.get(model)
    return entry is not None and entry.state in _LEANING


def in_turn(
    replica: ReplicaState, promises: Promises, candidates: Iterator[Candidate]
) -> Iterator[Candidate]:
    """The same candidates, each after all its callers that are in memory; without these it is none."""
    return _in_turn(replica, promises, candidates) if replica.calls else candidates


def _in_turn(
    replica: ReplicaState, promises: Promises, candidates: Iterator[Candidate]
) -> Iterator[Candidate]:
    gone = set(promises.victims)
    held: dict[ModelName, Candidate] = {}
    for first in candidates:
        due = [first]
        while due:
            each = due.pop()
            callers = leaning(replica, each.model)
            if not gone.issuperset(callers):
                held[each.model] = each
                continue
            gone.add(each.model)
            yield each._replace(callers=callers)
            due += [held.pop(name) for name in replica.calls.callees(each.model) if name in held]


def release(replica: ReplicaState) -> None:
    """Begins the unloads that waited for callers to be gone."""
    for model in tuple(replica.settled):
        entry = replica.entries.get(model)
        if entry is None or entry.drain is None or not entry.drain.settled:
            del replica.settled[model]
        elif not replica.called_from_memory(entry):
            del replica.settled[model]
            replica.begin_unload(entry, entry.drain)
