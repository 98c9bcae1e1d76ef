"""Making room and handing it out, after every event: whose load begins now, and who leaves for it.

Theory of operation. Bytes that are free or coming back (draining and idle, unloading) are promised to the waiting
models in order of arrival. A model whose promise is covered by bytes that are free begins to load; one whose promise is
not covered names its whole victim set or, when only busy models are left, is passed over until one is idle, so
that it blocks nobody behind it. Promises are worked out anew each time and never stored: a rescued victim, a
waiter who left or a failed load therefore needs no bookkeeping, and draining models that nobody needs any more
are put back.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from overbook.residency.books import Books, Entry
from overbook.residency.effects import Cause, Refusal
from overbook.residency.events import ModelName
from overbook.residency.planning import Candidate, plan_victims
from overbook.residency.sizes import in_words
from overbook.residency.states import State

# Waiting models looked at in one go. Those behind wait for the ones in front; a bound keeps an event cheap.
_SCAN: Final = 256
# Who leaves for one of these may stay when the room is no longer needed.
_FOR_ROOM: Final = frozenset(
    {Cause.PRESSURE, Cause.BUDGET, Cause.SURPRISE, Cause.LOST, Cause.GUARD}
)


@dataclass(slots=True)
class _Promises:
    """Bytes not promised to anybody yet. ``spare`` counts what will come back, ``free`` only what is there."""

    free: int
    spare: int
    reservations: int  # how many more waiting models may have room made for them now
    # Chosen but not yet told to leave: one who turns out superfluous before the end is left alone.
    victims: dict[ModelName, Cause] = field(default_factory=dict)
    kept: set[ModelName] = field(
        default_factory=set
    )  # to whom room was promised: no longer victims
    idle_bytes: float = math.inf  # what all eligible victims hold; known after one vain search
    blocked: bool = False  # somebody waits for a busy model to become idle
    wake: float = math.inf


def allocate(books: Books, now: float) -> float:
    """Begin what can begin. Returns when to look again, in seconds; inf: not before the next change."""
    if not books.up:
        return math.inf
    limits, free = books.limits, books.ledger.free
    promises = _Promises(
        free=free,
        spare=free + books.coming_back,
        reservations=max(0, limits.concurrent_loads - len(books.loading)) + limits.lookahead,
    )
    if promises.spare < 0:
        _cover_deficit(books, promises, now)
    for model in _head(books.pending):
        if promises.reservations <= 0:
            break
        _serve_pending(books, books.entries[model], promises, now)
    for model in _head(books.stale):
        if model not in promises.victims:
            _serve_stale(books, books.entries[model], promises, now)
    _take_victims(books, promises, now)
    _put_back(books, promises)
    _serve_warm(books, promises, now)
    return promises.wake


def _head(queue: OrderedDict[ModelName, None]) -> tuple[ModelName, ...]:
    return tuple(islice(queue, _SCAN)) if queue else ()


def _idle(
    books: Books, promises: _Promises, now: float, besides: Entry | None
) -> Iterator[Candidate]:
    """Residents that may leave now, in eviction order; notes when a young one will be old enough (law 3)."""
    total = 0
    kept: list[Candidate] = []
    for entry in books.residents(now):
        size = books.ledger.of(entry.model)
        if not size or entry.pinned or entry.state is not State.RESIDENT:
            continue
        if entry.model in promises.victims or entry.model in promises.kept:
            continue
        if entry.busy(now):
            if entry.in_flight == 0 and not entry.verifying:
                promises.wake = min(promises.wake, entry.busy_until)
            continue
        total += size
        if entry is besides:
            continue
        if now < entry.last_used + entry.keep_alive:
            kept.append(Candidate(entry.model, size))
        else:
            yield Candidate(entry.model, size)
    yield from kept  # rather than none at all
    promises.idle_bytes = total


def _make_room(books: Books, entry: Entry, promises: _Promises, now: float) -> bool:
    """Promise ``entry.size`` bytes, choosing victims for what is missing. False: only busy models are left."""
    shortfall = entry.size - promises.spare
    if shortfall > 0:
        if shortfall > promises.idle_bytes:
            promises.blocked = True
            return False
        victims = plan_victims(shortfall, _idle(books, promises, now, entry))
        if victims is None:
            promises.blocked = True
            return False
        _choose(promises, victims, Cause.PRESSURE)
    promises.spare -= entry.size
    promises.reservations -= 1
    promises.kept.add(entry.model)
    return True


def _choose(promises: _Promises, victims: tuple[Candidate, ...], cause: Cause) -> None:
    for victim in victims:
        promises.victims[victim.model] = cause
        promises.spare += victim.size
        promises.idle_bytes -= victim.size


def _reserve(books: Books, entry: Entry, promises: _Promises, now: float) -> bool:
    """Promise room to the model; True when its bytes are there and its load may begin at once."""
    if promises.reservations <= 0 or not _make_room(books, entry, promises, now):
        return False
    if entry.size > promises.free:
        return False
    promises.free -= entry.size
    return len(books.loading) < books.limits.concurrent_loads


def _serve_pending(books: Books, entry: Entry, promises: _Promises, now: float) -> None:
    refusal = no_room_reason(books, entry)
    if refusal:
        books.reject_all(entry, Refusal.NO_ROOM, refusal, 0.0)
    elif now < entry.retry_at:
        books.reject_all(entry, Refusal.LOAD_FAILED, entry.reason, entry.retry_at - now)
    elif _reserve(books, entry, promises, now):
        books.begin_load(entry)


def _serve_stale(books: Books, entry: Entry, promises: _Promises, now: float) -> None:
    if entry.verifying:
        return  # whether there is an old copy decides what a load would do; the answer comes soon
    if now < entry.retry_at:
        promises.wake = min(promises.wake, entry.retry_at)
        return
    capacity = books.ledger.budget - (books.pinned_bytes - books.held_by_pin(entry))
    if entry.size > capacity:
        # The new content does not fit as things are: the old one keeps serving and the status says why.
        entry.reason = no_room_reason(books, entry)
        books.stale.pop(entry.model)
        books.unfit[entry.model] = None
    elif entry.loaded_size + entry.size > capacity - books.ledger.withheld:
        # Not both at once: requests wait for the swap.
        before = books.coming_back
        books.begin_drain(entry, Cause.UPDATED, now)
        promises.spare += books.coming_back - before
    elif _reserve(books, entry, promises, now):
        books.begin_reload(entry)


def no_room_reason(books: Books, entry: Entry) -> str:
    """Why the model can never be loaded as things are, with the numbers; empty when it can."""
    budget = books.ledger.budget
    if entry.size > budget:
        return (
            f"model '{entry.model}' needs {in_words(entry.size)}, "
            f"more than the server replica's whole budget of {in_words(budget)}"
        )
    pinned = books.pinned_bytes - books.held_by_pin(entry)
    if entry.size > budget - pinned:
        return (
            f"model '{entry.model}' needs {in_words(entry.size)}, but pinned models hold "
            f"{in_words(pinned)} of the server replica's budget of {in_words(budget)}"
        )
    return ""


def _cover_deficit(books: Books, promises: _Promises, now: float) -> None:
    """More is charged than there is room (`Books.deficit` says why): evict what is idle, as far as it goes."""
    idle = tuple(_idle(books, promises, now, None))
    _choose(promises, plan_victims(-promises.spare, idle) or idle, books.deficit)


def _take_victims(books: Books, promises: _Promises, now: float) -> None:
    """Withdraw those chosen, but for those whom a larger victim, chosen later, made superfluous."""
    for model in reversed(tuple(promises.victims)):
        size = books.ledger.of(model)
        if size <= promises.spare:
            del promises.victims[model]
            promises.spare -= size
    for model, cause in promises.victims.items():
        books.begin_drain(books.entries[model], cause, now)


def _put_back(books: Books, promises: _Promises) -> None:
    """Rescue victims that nobody needs any more: the request they were to leave for is gone, the budget grew,
    or one that was in use again by then (it counts as nothing that comes back) has been replaced by an idle one.
    """
    if promises.blocked or not books.draining:
        return
    for entry in reversed(tuple(books.draining.values())):
        if entry.cause not in _FOR_ROOM:
            continue
        returning = 0 if entry.in_flight else books.ledger.of(entry.model)
        if returning <= promises.spare:
            books.rescue(entry)
            promises.spare -= returning


def _serve_warm(books: Books, promises: _Promises, now: float) -> None:
    """Load into room that is free anyway; one at a time, so that a request never waits behind many."""
    while books.warm and not books.pending and not books.loading:
        entry = books.entries[next(iter(books.warm))]
        room = min(promises.free, promises.spare)
        if entry.size <= room and now >= entry.retry_at and not no_room_reason(books, entry):
            books.begin_load(entry)
        else:
            books.warm.popitem(last=False)
