"""What the end of a load means, and what is learned of a model's size after it. Events are checked in `core`."""

from __future__ import annotations

from overbook.residency import next_load
from overbook.residency.assigning import content_changed, same_good
from overbook.residency.effects import Cause, Publish, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import LoadFailed, LoadSucceeded
from overbook.residency.good import Good
from overbook.residency.leaving import drain_deleted
from overbook.residency.replica import ReplicaState
from overbook.residency.retries import Retries
from overbook.residency.server_life import leave_for_recycling
from overbook.residency.states import State, Step
from overbook.residency.together import supported
from overbook.residency.under_way import Loading


def succeeded(
    replica: ReplicaState,
    retries: Retries,
    entry: Entry,
    load: Loading,
    event: LoadSucceeded,
    now: float,
) -> None:
    """Who waits is granted the model, unless what was loaded was deleted meanwhile."""
    first = entry.state is State.LOADING
    replica.step(entry, Step.LOADED if first else Step.RELOADED)
    size = load.size if event.measured is None else event.measured
    entry.loaded_generation, entry.loaded_size = load.generation, size
    if event.measured is not None and not entry.stale:
        replica.set_size(entry, size)
    replica.recharge(entry, size)
    replica.deficit = Cause.SURPRISE if replica.ledger.free < 0 else replica.deficit
    if event.seconds is not None:
        before = entry.load_seconds
        entry.load_seconds = replica.load_times.observe(size, event.seconds, before)
    entry.loads += 1
    if not entry.stale:
        retries.forgive(entry)
    if entry.removed or load.deleted:
        drain_deleted(replica, entry, now)
        return
    entry.good = Good(load.generation, size, load.peak)
    replica.emit(Publish(entry.model))
    if replica.waiting.waiting_for(entry.model):
        replica.grant_all(entry, now)
    else:
        replica.seat(entry)
    replica.mark_stale(entry)
    if replica.recycling:
        leave_for_recycling(replica, entry, now)
    elif not supported(replica, entry):
        replica.begin_drain(entry, Cause.CALLEE, now)


def failed(
    replica: ReplicaState,
    retries: Retries,
    entry: Entry,
    load: Loading,
    event: LoadFailed,
    now: float,
) -> None:
    """Who waits is told, unless an older content stands in or a newer one came meanwhile."""
    newest = load.generation == entry.generation
    if newest:
        retries.failed(entry, event.reason, now, passing=event.passing)
    elif (good := entry.good) is not None and good.generation == load.generation:
        retries.good_failed(entry.model, good, event.reason, now)
    if entry.state is State.RELOADING:
        _reload_failed(replica, entry, now)
        return
    replica.step(entry, Step.LOAD_FAILED)
    if entry.removed:
        replica.forget(entry)
    elif not newest and not entry.failures:
        # Newer content arrived meanwhile: nothing is known against it, so the waiters wait for it.
        content_changed(replica, retries, entry, warm=True)
        if replica.waiting.waiting_for(entry.model):
            replica.want(entry, now)
    elif (held := next_load.held_back(replica, entry, now)) is not None:
        replica.reject_all(entry, Refusal.LOAD_FAILED, *held)
    else:
        _fall_back(replica, entry, now)


def _fall_back(replica: ReplicaState, entry: Entry, now: float) -> None:
    """The newest content could not be loaded, but what was loaded last can: who waits is served by that."""
    replica.step(entry, Step.RESET)
    replica.warm_up(entry)
    if replica.waiting.waiting_for(entry.model):
        replica.want(entry, now)


def _reload_failed(replica: ReplicaState, entry: Entry, now: float) -> None:
    replica.step(entry, Step.RELOAD_FAILED)
    replica.recharge(entry, entry.loaded_size)
    replica.seat(entry)
    if entry.good is None:
        drain_deleted(replica, entry, now)
        return
    if not supported(replica, entry):
        replica.begin_drain(entry, Cause.CALLEE, now)
        return
    replica.mark_stale(entry)
    if replica.waiting.waiting_for(entry.model):
        replica.begin_verify(entry)  # suspects waited: is the old copy still there?


def measured(replica: ReplicaState, entry: Entry, size: int) -> None:
    """What is in memory really takes so many bytes. What is being loaded now is measured anew."""
    if entry.loading is not None or entry.stale:
        return
    replica.set_size(entry, size)
    entry.loaded_size = size
    same_good(entry)
    if entry.unloading is None:
        replica.recharge(entry, size)
        replica.seat(entry)
        replica.deficit = Cause.SURPRISE if replica.ledger.free < 0 else replica.deficit
