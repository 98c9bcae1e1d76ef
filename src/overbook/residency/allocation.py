"""Making room and handing it out, after every event: whose load begins now, and who leaves for it.

Theory of operation. Bytes that are free or coming back (draining and idle, unloading) are promised to the waiting
models, first to those that waited too long and then by merit (`precedence`), as far as there are `places`. A model
whose promise is covered by bytes that are free begins to load; one whose promise is not covered names its whole victim
set or, when only busy models are left, is passed over until one is idle, so that it blocks nobody behind it. Promises
are worked out anew each time and never stored: a rescued victim, a waiter who left or a failed load therefore needs no
bookkeeping, and draining models that nobody needs any more are put back.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop
from itertools import islice
from typing import Final

from overbook.manifests.quantities import amount
from overbook.residency import next_load, together
from overbook.residency.ahead import headroom, make_room_ahead
from overbook.residency.claims import claim
from overbook.residency.disk_room import make_disk_room
from overbook.residency.effects import Cause, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.files_leaving import Surplus
from overbook.residency.places import places
from overbook.residency.planning import plan_victims
from overbook.residency.precedence import merit
from overbook.residency.promises import Promises, idle
from overbook.residency.replica import ReplicaState
from overbook.residency.states import State

# Waiting models looked at in one go. Those behind wait for the ones in front; a bound keeps an event cheap.
_SCAN: Final = 256
# Cold models tried for room that is left over: the hottest may be too large for it.
_WARM_TRIES: Final = 16
# Who leaves for one of these may stay when the room is no longer needed.
_FOR_ROOM: Final = frozenset(
    {
        Cause.PRESSURE,
        Cause.BUDGET,
        Cause.SURPRISE,
        Cause.LOST,
        Cause.GUARD,
        Cause.FAIRNESS,
        Cause.DISK,
    }
)


def allocate(replica: ReplicaState, now: float) -> float:
    """Begin what can begin. Returns when to look again, in seconds; inf: not before the next change."""
    replica.blocked = False
    if not replica.up:
        return math.inf
    disk_wake = make_disk_room(replica, now)
    free = replica.ledger.free
    if free >= 0 and not (
        replica.pending or replica.stale or replica.draining or replica.filling or replica.room_due
    ):
        return disk_wake  # nobody waits for memory, and nothing is owed or to be put back
    promises = Promises(
        free=free,
        spare=free + replica.sums.coming_back,
        places=places(replica, now),
        idle_bytes=replica.sums.idle_bytes,
    )
    if promises.spare < 0:
        _cover_deficit(replica, promises, now)
    if not promises.places.closed:
        for model in _in_turn(replica, now):
            # What a caller needed as well has its promise, or is loading.
            if model in replica.pending and model not in promises.kept:
                _serve_pending(replica, replica.entries[model], promises, now)
            if promises.places.closed:
                break
    for model in _head(replica.stale):
        if model not in promises.victims:
            _serve_stale(replica, replica.entries[model], promises, now)
    if replica.room_due:
        make_room_ahead(replica, promises, now)
    _take_victims(replica, promises, now)
    _put_back(replica, promises, now)
    _serve_warm(replica, promises, now)
    replica.blocked = replica.blocked or promises.blocked
    if replica.pending or replica.stale:
        promises.wake = min(promises.wake, promises.places.change)
    return min(promises.wake, disk_wake)


def _head(queue: OrderedDict[ModelName, None]) -> tuple[ModelName, ...]:
    return tuple(islice(queue, _SCAN)) if queue else ()


def _in_turn(replica: ReplicaState, now: float) -> Iterator[ModelName]:
    """Those that wait, as they are to be served: who waited too long in order of arrival, then by merit."""
    heap: list[tuple[float, int, ModelName]] = []
    late, budget, waiting = now - replica.limits.patience, replica.ledger.budget, replica.waiting
    for place, model in enumerate(_head(replica.pending)):
        entry = replica.entries[model]
        if entry.wanted_since <= late:
            yield model
            continue
        worth = merit(
            waiting.waiting_for(model),
            now - entry.wanted_since,
            replica.expected_seconds(entry),
            entry.size,
            budget,
        )
        heap.append((-worth, place, model))
    heapify(heap)
    while heap:
        yield heappop(heap)[2]


def _make_room(replica: ReplicaState, entry: Entry, promises: Promises, now: float) -> bool:
    """Promise what a load needs, choosing victims for what is missing. False: only busy models are left."""
    needs = next_load.needs(replica, entry)
    shortfall = needs - promises.spare
    if shortfall > 0:
        if shortfall > promises.idle_bytes:
            promises.blocked = True
            return False
        leaving = together.in_turn(replica, promises, idle(replica, promises, now, entry))
        victims = plan_victims(shortfall, leaving)
        if victims is None:
            promises.blocked = True
            return False
        promises.choose(victims, Cause.PRESSURE, entry.model)
    promises.spare -= needs
    promises.kept.add(entry.model)
    return True


def _reserve(
    replica: ReplicaState, entry: Entry, promises: Promises, now: float, since: float
) -> int | None:
    """Promise room to the model. When its bytes are there and its load may begin at once: how many more it may have
    for the moment in which it takes more; nobody leaves for these. Else None. ``since``: when somebody began to wait.
    """
    needs, long = next_load.needs(replica, entry), replica.takes_long(entry)
    if not promises.places.admits(needs, long=long):
        return None
    impatient_at = since + replica.limits.patience
    if not _make_room(replica, entry, promises, now):
        if now < impatient_at:
            promises.wake = min(promises.wake, impatient_at)
        elif not promises.claimed:
            claim(replica, entry, promises, now)
        return None
    promises.places.promise(needs, long=long)
    if needs > promises.free:
        if now >= impatient_at:
            promises.free = min(
                promises.free, 0
            )  # what trickles in is its, not that of smaller ones behind it
        return None
    promises.free -= needs
    peak = next_load.peak(replica, entry)
    extra = max(0, min(peak - needs, promises.free, promises.spare))
    if not promises.places.begin(long=long) or not replica.may_overdraw(peak - needs - extra):
        return None
    promises.free -= extra  # it comes back when the load has ended: nobody leaves for it
    return extra


def _serve_pending(replica: ReplicaState, entry: Entry, promises: Promises, now: float) -> None:
    refusal = no_room_reason(replica, entry)
    if refusal:
        replica.reject_all(entry, Refusal.NO_ROOM, refusal, 0.0)
    elif (held := next_load.held_back(replica, entry, now)) is not None:
        replica.reject_all(entry, Refusal.LOAD_FAILED, *held)
    elif (
        next_load.size(replica, entry)
        > replica.ledger.budget - replica.ledger.withheld - replica.sums.pinned_bytes
    ):
        return  # not even if all others left: bytes are lost, and whoever sees to that is told (`outlook.starved`)
    elif (callees := together.refusal(replica, entry, now)) is not None:
        replica.reject_all(entry, *callees)
    elif _callees_serve(replica, entry, promises, now):
        _load(replica, entry, promises, now, entry.wanted_since)


def _load(
    replica: ReplicaState, entry: Entry, promises: Promises, now: float, since: float
) -> None:
    """Begin a load that somebody waits for ``since`` then, or promise it room."""
    extra = _reserve(replica, entry, promises, now, since)
    if extra is None:
        return
    load = next_load.plan(replica, entry, now, extra)
    replica.begin_load(entry, load)
    # What was only reserved comes back with its end.
    promises.spare += load.extra - extra
    replica.demand.note(entry.size, now)
    replica.room_due = replica.limits.headroom > 0


def _callees_serve(replica: ReplicaState, entry: Entry, promises: Promises, now: float) -> bool:
    """Whether all that a model calls serves and stays. What does not is loaded for those who wait for the model, and
    the model's own room is promised together with it.
    """
    below = replica.calls.below(entry.model)
    if not below:
        return True
    ready = True
    for model in below:
        callee = replica.entries.get(model)
        if callee is not None and callee.serves and model not in promises.victims:
            promises.kept.add(model)
            continue
        ready = False
        cold = callee is not None and callee.state in (State.COLD, State.FAILED)
        if model in promises.kept:
            continue
        if callee is not None and cold and together.missing(replica, callee) is None:
            _load(replica, callee, promises, now, entry.wanted_since)
    if not ready:
        _make_room(replica, entry, promises, now)
    return ready


def _serve_stale(replica: ReplicaState, entry: Entry, promises: Promises, now: float) -> None:
    if entry.verifying:
        return  # whether there is an old copy decides what a load would do; the answer comes soon
    if entry.given_up:
        replica.stale.pop(entry.model)
        return
    if now < entry.retry_at:
        promises.wake = min(promises.wake, entry.retry_at)
        return
    capacity = replica.sums.room_for(entry)
    if entry.size > capacity:
        # The new content does not fit as things are: the old one keeps serving and the status says why.
        entry.reason = newest_has_no_room(replica, entry)
        replica.stale.pop(entry.model)
        replica.unfit[entry.model] = None
    elif entry.loaded_size + entry.size > capacity - replica.ledger.withheld:
        # Not both at once: requests wait for the swap.
        before = replica.sums.coming_back
        replica.begin_drain(entry, Cause.UPDATED, now)
        promises.spare += replica.sums.coming_back - before
    elif (extra := _reserve(replica, entry, promises, now, entry.wanted_since)) is not None:
        load = next_load.plan(replica, entry, now, extra)
        replica.begin_reload(entry, load)
        promises.spare += load.extra - extra


def no_room_reason(replica: ReplicaState, entry: Entry) -> str:
    """Why the model can never be loaded as things are, with the numbers; empty when it can."""
    return _no_room(replica, entry, next_load.size(replica, entry))


def newest_has_no_room(replica: ReplicaState, entry: Entry) -> str:
    """The same of its newest content, whatever stands in for it."""
    return _no_room(replica, entry, entry.size)


def _no_room(replica: ReplicaState, entry: Entry, size: int) -> str:
    budget, room = replica.ledger.budget, replica.sums.room_for(entry)
    if size > budget:
        return (
            f"model '{entry.model}' needs {amount(size)}, "
            f"more than the server replica's whole budget of {amount(budget)}"
        )
    if size > room:
        return (
            f"model '{entry.model}' needs {amount(size)}, but pinned models hold "
            f"{amount(budget - room)} of the server replica's budget of {amount(budget)}"
        )
    return ""


def _cover_deficit(replica: ReplicaState, promises: Promises, now: float) -> None:
    """More is charged than there is room (`ReplicaState.deficit` says why): evict what is idle, as far as it goes."""
    leaving = tuple(together.in_turn(replica, promises, idle(replica, promises, now, None)))
    promises.choose(plan_victims(-promises.spare, leaving) or leaving, replica.deficit)


def _take_victims(replica: ReplicaState, promises: Promises, now: float) -> None:
    """Withdraw those chosen, but for those whom a larger victim, chosen later, made superfluous."""
    if not promises.victims:
        return
    for model in reversed(tuple(promises.victims)):
        size = replica.ledger.of(model)
        callees = replica.calls.callees(model)
        if size <= promises.spare and promises.victims.keys().isdisjoint(callees):
            del promises.victims[model]
            promises.spare -= size
    for model, cause in promises.victims.items():
        entry = replica.entries[model]
        if entry.state is State.RESIDENT:  # else it left with what it calls
            replica.begin_drain(entry, cause, now)
            entry.left_for = promises.room_for[model]


def _put_back(replica: ReplicaState, promises: Promises, now: float) -> None:
    """Rescue victims that nobody needs any more: the request they were to leave for is gone, the budget grew,
    or one that was in use again by then (it counts as nothing that comes back) has been replaced by an idle one.
    Those whose files have to leave the disk are needed all the same.

    Those that are waited for again come first: to put them back costs no load.
    """
    if promises.blocked or not replica.draining:
        return
    surplus = Surplus(replica, now)
    latest_first = reversed(tuple(replica.draining.values()))
    for entry in sorted(latest_first, key=lambda each: not replica.waiting.waiting_for(each.model)):
        if entry.drain is None or entry.drain.cause not in _FOR_ROOM:
            continue
        if not together.supported(replica, entry):
            continue
        returning = replica.sums.returning(entry)
        if returning <= promises.spare and surplus.spares(entry):
            replica.rescue(entry)
            promises.spare -= returning


def _serve_warm(replica: ReplicaState, promises: Promises, now: float) -> None:
    """Load into room that is free anyway, hottest first; one at a time, so that a request never waits behind many."""
    if not replica.filling or replica.pending or replica.loading or replica.disk is not None:
        return  # while files have to leave the disk, no more are made to stay
    room = min(promises.free, promises.spare) - headroom(replica)
    passed: list[Entry] = []
    replica.filling = False
    while room > 0 and len(passed) < _WARM_TRIES and (model := replica.warm.take()) is not None:
        entry = replica.entries[model]
        if next_load.held_back(replica, entry, now) is not None or no_room_reason(replica, entry):
            continue
        if together.missing(replica, entry) is not None:
            passed.append(entry)  # what it calls comes first, and is on the shelf as well
            continue
        if (needs := next_load.needs(replica, entry)) <= room:
            extra = max(0, min(next_load.peak(replica, entry) - needs, room - needs))
            replica.begin_load(entry, next_load.plan(replica, entry, now, extra))
            replica.filling = True
            break
        passed.append(entry)
    for entry in passed:
        replica.warm.put(entry.model, entry.heat)
