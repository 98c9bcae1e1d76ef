"""What the next load of a model takes: which content, how many bytes, and whether it may begin yet. Reads only."""

from __future__ import annotations

import math

from overbook.residency.entry import Entry
from overbook.residency.good import Good
from overbook.residency.replica import ReplicaState
from overbook.residency.states import CHARGED, State
from overbook.residency.under_way import Loading


def fallback(replica: ReplicaState, entry: Entry) -> Good | None:
    """The older content that its next load takes, as the newest has failed or has no place; None: the newest."""
    good = entry.good
    if good is None or good.generation == entry.generation or entry.state in CHARGED:
        return None
    room = replica.sums.room_for(entry)
    failed = entry.failures and not good.made_way
    return good if good.size <= room and (failed or entry.size > room) else None


def size(replica: ReplicaState, entry: Entry) -> int:
    """Bytes of the content that its next load takes."""
    good = fallback(replica, entry)
    return entry.size if good is None else good.size


def peak(replica: ReplicaState, entry: Entry) -> int:
    """Bytes that its next load takes for a moment."""
    good = fallback(replica, entry)
    return entry.peak if good is None else good.peak


def held_back(replica: ReplicaState, entry: Entry, now: float) -> tuple[str, float] | None:
    """Why its next load may not begin yet, and for how many seconds (0: for good); None when it may."""
    good = fallback(replica, entry)
    until, why = (entry.retry_at, entry.failure) if good is None else (good.retry_at, good.failure)
    if now >= until:
        return None
    return why, until - now if until < math.inf else 0.0


def needs(replica: ReplicaState, entry: Entry) -> int:
    """Bytes that a load of it is charged: its size, or what is reserved, as far as that could ever be had."""
    good = fallback(replica, entry)
    if good is not None:
        return good.size
    if entry.reserve <= entry.size:
        return entry.size
    ledger = replica.ledger
    others = replica.sums.pinned_bytes - replica.sums.held_by_pin(entry)
    old = entry.loaded_size if entry.state is State.RESIDENT else 0
    room = ledger.budget - ledger.withheld - others - old
    return max(entry.size, min(entry.reserve, room))


def plan(replica: ReplicaState, entry: Entry, now: float, extra: int) -> Loading:
    """It, as it begins. ``extra``: bytes beyond what it needs that are free for the moment in which it takes more."""
    good = fallback(replica, entry)
    generation, size, most = (
        (entry.generation, entry.size, entry.peak)
        if good is None
        else (good.generation, good.size, good.peak)
    )
    charged = needs(replica, entry) + extra
    return Loading(generation, size, most, charged - size, max(0, most - charged), began=now)
