"""What it means for memory that a model is assigned, changed, deleted, applied anew. Events are checked in `core`."""

from __future__ import annotations

from overbook.residency.effects import Cause, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, Register
from overbook.residency.fitting import refused
from overbook.residency.good import Good
from overbook.residency.replica import ReplicaState
from overbook.residency.retries import Retries
from overbook.residency.states import State, Step
from overbook.residency.together import supported


def assign(replica: ReplicaState, retries: Retries, event: Register, now: float) -> None:
    """It was not known here."""
    entry = Entry(event.model, event.size, event.generation, False, event.priority)
    entry.keep_alive, entry.load_seconds = event.keep_alive, event.load_seconds
    entry.last_used, entry.reserve = min(event.last_used, now), event.reserve
    entry.peak = event.peak
    entry.good = Good(event.generation, event.size, event.peak) if event.proven else None
    replica.entries[event.model] = entry
    replica.calls.set(event.model, event.callees)
    replica.set_size(entry, event.size)
    replica.set_pinned(entry, event.pinned)
    content_changed(replica, retries, entry, warm=event.warm)


def change(
    replica: ReplicaState, retries: Retries, entry: Entry, event: Register, now: float
) -> None:
    """It is known, and may have been deleted meanwhile."""
    other_content = event.generation != entry.generation
    changed = other_content or entry.size != event.size
    replica.changed = replica.changed or entry.reserve != event.reserve
    entry.keep_alive, entry.reserve, entry.peak = event.keep_alive, event.reserve, event.peak
    replica.set_size(entry, event.size)
    anew, entry.removed = entry.removed, False
    entry.generation = event.generation
    replica.set_pinned(entry, event.pinned)
    if entry.priority != event.priority:
        entry.priority = event.priority
        replica.seat(entry)
    if entry.model in replica.warm:
        replica.warm.put(entry.model, entry.heat)
    _set_callees(replica, entry, event.callees, now)
    if anew:
        _applied_anew(replica, entry)
    same_good(entry)
    if other_content or (changed and not entry.barred):
        content_changed(replica, retries, entry, warm=event.warm)


def _set_callees(
    replica: ReplicaState, entry: Entry, callees: tuple[ModelName, ...], now: float
) -> None:
    """What is in memory without all that it calls now leaves, and comes back with it."""
    if callees == replica.calls.callees(entry.model):
        return
    replica.calls.set(entry.model, callees)
    replica.changed = True
    if entry.state is State.RESIDENT and not supported(replica, entry):
        replica.begin_drain(entry, Cause.UPDATED, now)


def _applied_anew(replica: ReplicaState, entry: Entry) -> None:
    """After its deletion. What is in memory, or on its way there, may serve if it is the very same content."""
    if entry.loading is not None:
        deleted = entry.loading.generation != entry.generation
        entry.loading = entry.loading._replace(deleted=deleted)
    elif entry.drain is not None and replica.recycling:
        entry.drain = entry.drain.because(Cause.RECYCLED)
    elif entry.drain is not None and entry.stale:
        entry.drain = entry.drain.because(Cause.UPDATED)
    elif entry.drain is not None:
        entry.good = Good(entry.loaded_generation, entry.loaded_size, entry.peak)
        replica.rescue(entry)


def same_good(entry: Entry) -> None:
    """What is known of the size of the newest content holds for the good one, where they are one."""
    if entry.good is not None and entry.good.generation == entry.generation:
        entry.good.size, entry.good.peak = entry.size, entry.peak


def content_changed(replica: ReplicaState, retries: Retries, entry: Entry, *, warm: bool) -> None:
    """New content or size: forget failures, and bring memory in line with it."""
    retries.forgive(entry)
    replica.unfit.pop(entry.model, None)
    replica.changed = True
    if entry.state in (State.COLD, State.FAILED):
        replica.step(entry, Step.RESET)
        if not refused(replica, entry) and warm:
            replica.warm_up(entry)
    elif entry.state is State.RESIDENT:
        if entry.stale:
            replica.mark_stale(entry)
        elif _affordable(replica, entry.size - entry.loaded_size):
            replica.recharge(entry, entry.size)
            replica.seat(entry)
            entry.loaded_size = entry.size
    elif (load := entry.loading) is not None:
        more = entry.size - load.size - load.extra
        if load.generation == entry.generation and _affordable(replica, more):
            replica.resize_load(entry, load, entry.size)


def _affordable(replica: ReplicaState, more: int) -> bool:
    """Only the guess changed. A larger one that does not fit is charged at the next load (law 1)."""
    return more <= 0 or more <= replica.ledger.free


def remove(replica: ReplicaState, entry: Entry, now: float) -> None:
    """It is deleted. Loading, reloading and unloading end first; their end looks at what was deleted meanwhile."""
    good, entry.good = entry.good, None  # what was deleted never serves again
    entry.removed = True
    reason = f"model '{entry.model}' was removed"
    replica.reject_all(entry, Refusal.UNKNOWN, reason, 0.0)
    replica.warm.drop(entry.model)
    for queue in (replica.stale, replica.unfit):
        queue.pop(entry.model, None)
    if entry.state in (State.COLD, State.FAILED):
        replica.forget(entry)
    elif entry.state is State.RESIDENT:
        replica.begin_drain(entry, Cause.REMOVED, now)
    elif entry.drain is not None:
        entry.drain = entry.drain.because(Cause.REMOVED)
    elif entry.state is State.RELOADING and good is not None:
        replica.withdraw_deleted(entry)
