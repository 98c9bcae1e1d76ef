"""`Core.handle(event, now) -> effects`: the laws of memory of one server replica (DESIGN section 4).

What each event means is here; the moves are in `replica`, who gets room in `allocation`, the life of a model in
`states`. An illegal event raises `IllegalEvent` and changes nothing; replaying a log gives the same effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from overbook.residency import events, outlook
from overbook.residency.allocation import allocate, newest_has_no_room, no_room_reason
from overbook.residency.effects import Cause, Effect, Publish, Refusal
from overbook.residency.events import Event, ModelName
from overbook.residency.fitting import budget_changed, deadline_reason, refused
from overbook.residency.good import Good
from overbook.residency.holding import hold_back
from overbook.residency.ledger import Ledger
from overbook.residency.outlook import Statistics
from overbook.residency.policy import EvictionOrder
from overbook.residency.replica import Entry, Limits, ReplicaState
from overbook.residency.retries import Retries
from overbook.residency.states import CHARGED, IllegalStep, State, Step
from overbook.residency.worth import Worth

# A request for a model that leaves for one of these puts it back.
_RESCUED: Final = frozenset({Cause.PRESSURE, Cause.AHEAD, Cause.REQUESTED})


class IllegalEvent(IllegalStep):
    """The event cannot happen now; nothing was changed."""


class Core:
    """The residency of one replica: a handler for each event. Bytes, and seconds on the caller's monotonic clock."""

    __slots__ = ("_handlers", "_replica", "_retries", "_wake")

    def __init__(
        self, *, budget: int, limits: Limits | None = None, order: EvictionOrder | None = None
    ) -> None:
        self._replica = ReplicaState(
            budget=budget,
            limits=limits if limits is not None else Limits(),
            order=order if order is not None else Worth(),
        )
        self._retries = Retries(self._replica.limits)
        self._wake = math.inf
        self._handlers: dict[type, Callable[..., None]] = {
            events.Register: self._register,
            events.Remove: self._remove,
            events.RequestArrived: self._request_arrived,
            events.RequestLeft: self._request_left,
            events.Passed: self._passed,
            events.UsageSeen: self._usage_seen,
            events.LoadSucceeded: self._load_succeeded,
            events.Measured: self._measured,
            events.LoadFailed: self._load_failed,
            events.Withdrawn: self._withdrawn,
            events.Drained: self._drained,
            events.Unloaded: self._unloaded,
            events.Verified: self._verified,
            events.EvictRequested: self._evict_requested,
            events.TryAgain: self._try_again,
            events.HoldBack: self._hold_back,
            events.ServerDown: self._server_down,
            events.ServerUp: self._server_up,
            events.BudgetChanged: self._budget_changed,
            events.Withhold: self._withhold,
            events.Recycle: self._recycle,
            events.Tick: self._tick,
        }

    @property
    def entries(self) -> Mapping[ModelName, Entry]:
        """What is known of each assigned model. For reading."""
        return MappingProxyType(self._replica.entries)

    @property
    def ledger(self) -> Ledger:
        """For reading."""
        return self._replica.ledger

    @property
    def overdrawn(self) -> int:
        """Bytes that loads under way take for a moment beyond what they are charged."""
        return self._replica.overdrawn

    def stands_in(self, model: ModelName) -> int:
        """The generation that a load would take, as the newest has failed or has no place; 0 when it is the newest."""
        good = self._replica.fallback(self._replica.entries[model])
        return 0 if good is None else good.generation

    def statistics(self) -> Statistics:
        return outlook.statistics(self._replica)

    def starved(self) -> bool:
        """See `outlook`."""
        return outlook.starved(self._replica)

    def awaited(self, now: float) -> list[ModelName]:
        """See `outlook`."""
        return outlook.awaited(self._replica, now)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in what happened; the effects are to be begun in their order. Raises IllegalEvent."""
        replica = self._replica
        self._handlers[type(event)](event, now)
        if replica.waiting:
            for request, model in replica.waiting.expired(now):
                replica.left(model)
                replica.reject(request, Refusal.DEADLINE, deadline_reason(replica, model), 1.0)
        while replica.draining:
            entry = next(iter(replica.draining.values()))
            if entry.drain_deadline > now:
                break
            replica.begin_unload(entry)
        if self._retries.next() <= now:
            self._due_retries(now)
        if replica.changed or now >= self._wake:
            # What allocation itself changes is looked at with the next event.
            replica.changed = False
            self._wake = allocate(replica, now)
        effects, replica.effects = replica.effects, []
        return effects

    def next_wakeup(self) -> float:
        """When a `Tick` is due at the latest, in seconds on the same clock; inf when nothing waits for time."""
        wake, replica = self._wake, self._replica
        if (deadline := replica.waiting.next_deadline()) is not None and deadline < wake:
            wake = deadline
        if replica.draining:
            wake = min(wake, next(iter(replica.draining.values())).drain_deadline)
        return min(wake, self._retries.next())

    def _entry(self, model: ModelName) -> Entry:
        try:
            return self._replica.entries[model]
        except KeyError:
            raise IllegalEvent(f"model '{model}' is not registered here") from None

    def _expect(self, model: ModelName, *states: State) -> Entry:
        entry = self._entry(model)
        if entry.state not in states:
            expected = " or ".join(state.value for state in states)
            raise IllegalEvent(f"model '{model}' is {entry.state.value}; expected {expected}")
        return entry

    # -- assignments

    def _register(self, event: events.Register, now: float) -> None:
        replica = self._replica
        if event.size < 0:
            raise IllegalEvent(
                f"model '{event.model}': size {event.size}: expected bytes, 0 or more"
            )
        if not 0 <= event.keep_alive < math.inf:
            raise IllegalEvent(
                f"model '{event.model}': keep alive {event.keep_alive}: expected seconds, 0 or more"
            )
        entry = replica.entries.get(event.model)
        if entry is None:
            entry = Entry(event.model, 0, event.generation, False, event.priority)
            replica.set_size(entry, event.size)
            entry.keep_alive, entry.load_seconds = event.keep_alive, event.load_seconds
            entry.last_used, entry.reserve = min(event.last_used, now), event.reserve
            entry.peak = event.peak
            entry.good = Good(event.generation, event.size, event.peak) if event.proven else None
            replica.entries[event.model] = entry
            replica.set_pinned(entry, event.pinned)
            self._content_changed(entry, warm=event.warm)
            return
        if event.generation < entry.generation and not entry.removed:
            raise IllegalEvent(
                f"model '{event.model}': generation {event.generation} after {entry.generation}"
            )
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
        if anew:
            self._applied_anew(entry)
        self._same_good(entry)
        if other_content or (changed and not entry.barred):
            self._content_changed(entry, warm=event.warm)

    def _applied_anew(self, entry: Entry) -> None:
        """After its deletion. What is in memory, or on its way there, may serve if it is the very same content."""
        replica = self._replica
        if entry.state in (State.LOADING, State.RELOADING):
            entry.loading_deleted = entry.loading_generation != entry.generation
        elif entry.state is State.DRAINING and replica.recycling:
            entry.cause = Cause.RECYCLED
        elif entry.state is State.DRAINING and entry.stale:
            entry.cause = Cause.UPDATED
        elif entry.state is State.DRAINING:
            entry.good = Good(entry.loaded_generation, entry.loaded_size, entry.peak)
            replica.rescue(entry)

    def _same_good(self, entry: Entry) -> None:
        """What is known of the size of the newest content holds for the good one, where they are one."""
        if entry.good is not None and entry.good.generation == entry.generation:
            entry.good.size, entry.good.peak = entry.size, entry.peak

    def _content_changed(self, entry: Entry, *, warm: bool) -> None:
        """New content or size: forget failures, and bring memory in line with it."""
        replica = self._replica
        self._retries.forgive(entry)
        replica.unfit.pop(entry.model, None)
        replica.changed = True
        if entry.state in (State.COLD, State.FAILED):
            replica.step(entry, Step.RESET)
            replica.refused.pop(entry.model, None)
            if not refused(replica, entry) and warm:
                replica.warm_up(entry)
        elif entry.state is State.RESIDENT:
            if entry.stale:
                replica.mark_stale(entry)
            elif self._affordable(entry.size - entry.loaded_size):
                replica.recharge(entry, entry.size)
                replica.seat(entry)
                entry.loaded_size = entry.size
        elif entry.state in (State.LOADING, State.RELOADING):
            same_content = entry.loading_generation == entry.generation
            more = entry.size - entry.loading_size - entry.loading_extra
            if same_content and self._affordable(more):
                replica.resize_load(entry, entry.size)

    def _affordable(self, more: int) -> bool:
        """Only the guess changed. A larger one that does not fit is charged at the next load (law 1)."""
        return more <= 0 or more <= self._replica.ledger.free

    def _remove(self, event: events.Remove, now: float) -> None:
        replica = self._replica
        entry = self._entry(event.model)
        good, entry.good = entry.good, None  # what was deleted never serves again
        entry.removed = True
        reason = f"model '{event.model}' was removed"
        replica.reject_all(entry, Refusal.UNKNOWN, reason, 0.0)
        replica.warm.drop(event.model)
        for queue in (replica.stale, replica.unfit):
            queue.pop(event.model, None)
        if entry.state in (State.COLD, State.FAILED):
            replica.forget(entry)
        elif entry.state is State.RESIDENT:
            replica.begin_drain(entry, Cause.REMOVED, now)
        elif entry.state is State.DRAINING:
            entry.cause = Cause.REMOVED
        elif entry.state is State.RELOADING and good is not None:
            replica.withdraw(entry, Cause.REMOVED)
        # Loading, reloading and unloading end first; their end looks at what was deleted meanwhile.

    # -- requests

    def _request_arrived(self, event: events.RequestArrived, now: float) -> None:
        replica = self._replica
        entry = replica.entries.get(event.model)
        if event.request in replica.waiting or event.request in replica.granted:
            raise IllegalEvent(
                f"request {event.request} waits already, or was granted and not passed on"
            )
        if entry is None or entry.removed:
            reason = f"model '{event.model}' is not assigned to this server replica"
            replica.reject(event.request, Refusal.UNKNOWN, reason)
            return
        if entry.state is State.DRAINING and entry.cause in _RESCUED:
            replica.rescue(entry)
        if entry.serves:
            self._request_for_serving(event, entry, now)
        elif entry.state in (State.COLD, State.FAILED):
            self._request_for_cold(event, entry, now)
        else:
            self._admit(event, entry)

    def _request_for_serving(self, event: events.RequestArrived, entry: Entry, now: float) -> None:
        replica = self._replica
        if not event.suspect:
            replica.grant(entry, [event.request], now)
        elif self._admit(event, entry) and entry.state is State.RESIDENT:
            replica.begin_verify(entry)
        # While it reloads the suspect waits for the end of that, which settles what is there.

    def _request_for_cold(self, event: events.RequestArrived, entry: Entry, now: float) -> None:
        replica = self._replica
        no_room = no_room_reason(replica, entry)
        if no_room:
            replica.reject(event.request, Refusal.NO_ROOM, no_room)
        elif (held := replica.held_back(entry, now)) is not None:
            replica.reject(event.request, Refusal.LOAD_FAILED, *held)
        elif self._admit(event, entry):
            replica.want(entry, now)

    def _admit(self, event: events.RequestArrived, entry: Entry) -> bool:
        replica, limits = self._replica, self._replica.limits
        waiting = replica.waiting.waiting_for(entry.model)
        if len(replica.waiting) >= limits.max_waiting or waiting >= limits.max_waiting_per_model:
            reason = (
                f"{waiting} requests wait for model '{entry.model}' and {len(replica.waiting)} for all models of "
                f"this server replica; at most {limits.max_waiting_per_model} and {limits.max_waiting} may"
            )
            replica.reject(event.request, Refusal.OVERLOADED, reason, 1.0)
            return False
        replica.waiting.admit(event.request, entry.model, event.deadline)
        return True

    def _request_left(self, event: events.RequestLeft, now: float) -> None:
        model = self._replica.waiting.leave(event.request)
        if model is not None:
            self._replica.left(model)
        else:
            self._off_the_way(event.request, now)

    def _passed(self, event: events.Passed, now: float) -> None:
        self._off_the_way(event.request, now)

    def _off_the_way(self, request: events.RequestId, now: float) -> None:
        replica = self._replica
        model = replica.granted.passed(request)
        if model is not None:
            replica.passed(replica.entries[model], now)

    def _usage_seen(self, event: events.UsageSeen, now: float) -> None:
        replica = self._replica
        if event.in_flight < 0:
            raise IllegalEvent(f"model '{event.model}': {event.in_flight} requests in flight")
        entry = replica.entries.get(event.model)
        if entry is None or entry.state not in CHARGED:
            return  # counted just before it left
        replica.set_in_flight(entry, event.in_flight)
        if event.last_active > entry.last_used:
            entry.last_used = min(event.last_active, now)
            replica.seat(entry, used=True)

    # -- results of effects

    def _load_succeeded(self, event: events.LoadSucceeded, now: float) -> None:
        replica = self._replica
        entry = self._expect(event.model, State.LOADING, State.RELOADING)
        if event.measured is not None and event.measured < 0:
            raise IllegalEvent(f"model '{event.model}': measured {event.measured} bytes")
        first = entry.state is State.LOADING
        replica.step(entry, Step.LOADED if first else Step.RELOADED)
        size = entry.loading_size if event.measured is None else event.measured
        entry.loaded_generation, entry.loaded_size = entry.loading_generation, size
        if event.measured is not None and not entry.stale:
            replica.set_size(entry, size)
        replica.recharge(entry, size)
        replica.deficit = Cause.SURPRISE if replica.ledger.free < 0 else replica.deficit
        if event.seconds is not None:
            before = entry.load_seconds
            entry.load_seconds = replica.load_times.observe(size, event.seconds, before)
        entry.loads += 1
        if not entry.stale:
            self._retries.forgive(entry)
        if entry.removed or entry.loading_deleted:
            replica.drain_deleted(entry, now)
            return
        entry.good = Good(entry.loaded_generation, size, entry.loading_peak)
        replica.emit(Publish(entry.model))
        if replica.waiting.waiting_for(entry.model):
            replica.grant_all(entry, now)
        else:
            replica.seat(entry)
        replica.mark_stale(entry)
        if replica.recycling:
            self._leave_for_recycling(entry, now)

    def _measured(self, event: events.Measured, now: float) -> None:
        replica = self._replica
        if event.size < 0:
            raise IllegalEvent(f"model '{event.model}': measured {event.size} bytes")
        entry = self._expect(event.model, *CHARGED)
        if event.withheld is not None:
            self._set_withheld(event.withheld)
        if entry.state is State.LOADING or entry.state is State.RELOADING or entry.stale:
            return  # what is being loaded now is measured anew
        replica.set_size(entry, event.size)
        entry.loaded_size = event.size
        self._same_good(entry)
        if entry.state is not State.UNLOADING:
            replica.recharge(entry, event.size)
            replica.seat(entry)
            replica.deficit = Cause.SURPRISE if replica.ledger.free < 0 else replica.deficit

    def _load_failed(self, event: events.LoadFailed, now: float) -> None:
        replica = self._replica
        entry = self._expect(event.model, State.LOADING, State.RELOADING)
        newest = entry.loading_generation == entry.generation
        if newest:
            self._retries.failed(entry, event.reason, now, passing=event.passing)
        elif (good := entry.good) is not None and good.generation == entry.loading_generation:
            self._retries.good_failed(entry.model, good, event.reason, now)
        if entry.state is State.RELOADING:
            self._reload_failed(entry, now)
            return
        replica.step(entry, Step.LOAD_FAILED)
        if entry.removed:
            replica.forget(entry)
        elif not newest and not entry.failures:
            # Newer content arrived meanwhile: nothing is known against it, so the waiters wait for it.
            self._content_changed(entry, warm=True)
            if replica.waiting.waiting_for(entry.model):
                replica.want(entry, now)
        elif (held := replica.held_back(entry, now)) is not None:
            replica.reject_all(entry, Refusal.LOAD_FAILED, *held)
        else:
            self._fall_back(entry, now)

    def _fall_back(self, entry: Entry, now: float) -> None:
        """The newest content could not be loaded, but what was loaded last can: who waits is served by that."""
        self._replica.step(entry, Step.RESET)
        self._replica.warm_up(entry)
        if self._replica.waiting.waiting_for(entry.model):
            self._replica.want(entry, now)

    def _reload_failed(self, entry: Entry, now: float) -> None:
        replica = self._replica
        replica.step(entry, Step.RELOAD_FAILED)
        replica.recharge(entry, entry.loaded_size)
        replica.seat(entry)
        if entry.good is None:
            replica.drain_deleted(entry, now)
            return
        replica.mark_stale(entry)
        if replica.waiting.waiting_for(entry.model):
            replica.begin_verify(entry)  # suspects waited: is the old copy still there?

    def _withdrawn(self, event: events.Withdrawn, now: float) -> None:
        entry = self._drain(event)
        if entry is not None and not entry.withdrawn:
            entry.withdrawn = True
            self._replica.settle(entry)

    def _drained(self, event: events.Drained, now: float) -> None:
        entry = self._drain(event)
        if entry is None:
            return
        if not entry.withdrawn or entry.granted:
            raise IllegalEvent(f"model '{event.model}' drained before it was asked to settle")
        self._replica.set_in_flight(entry, 0)  # whatever a meter said before
        self._replica.begin_unload(entry)

    def _drain(self, answer: events.Withdrawn | events.Drained) -> Entry | None:
        """The model that drains; None when a rescue crossed the answer: an old ticket means nothing."""
        entry = self._replica.draining.get(answer.model)
        return entry if entry is not None and entry.ticket == answer.ticket else None

    def _unloaded(self, event: events.Unloaded, now: float) -> None:
        replica = self._replica
        entry = self._expect(event.model, State.UNLOADING)
        replica.unloaded(entry, now)
        if not entry.removed:
            refused(replica, entry)  # perhaps only its load showed how large it is

    def _verified(self, event: events.Verified, now: float) -> None:
        replica = self._replica
        entry = self._entry(event.model)
        if not entry.verifying:
            raise IllegalEvent(f"model '{event.model}' was not being verified")
        replica.set_verifying(entry, False)
        if entry.state is not State.RESIDENT:
            return  # it is leaving; who waits is served after that
        if event.present:
            replica.grant_all(entry, now)
            return
        replica.stale.pop(entry.model, None)
        replica.step(entry, Step.VANISHED)
        if replica.waiting.waiting_for(entry.model):
            replica.want(entry, now)

    # -- people and the server

    def _evict_requested(self, event: events.EvictRequested, now: float) -> None:
        entry = self._entry(event.model)
        if entry.state is State.RESIDENT:
            self._replica.begin_drain(entry, Cause.REQUESTED, now)
        elif entry.state is State.DRAINING and entry.cause in (Cause.PRESSURE, Cause.AHEAD):
            entry.cause = Cause.REQUESTED
        self._replica.warm.drop(event.model)

    def _try_again(self, event: events.TryAgain, now: float) -> None:
        replica, entry = self._replica, self._entry(event.model)
        self._retries.forgive_good(entry)
        if entry.size > replica.ledger.budget:
            return  # its size is against it, and nobody can help that
        self._retries.forgive(entry)
        if entry.model in replica.unfit:
            entry.reason = newest_has_no_room(replica, entry)
        if entry.state is State.FAILED:
            replica.step(entry, Step.RESET)
        elif entry.state is State.RESIDENT:
            replica.mark_stale(entry)

    def _hold_back(self, event: events.HoldBack, now: float) -> None:
        entry = self._entry(event.model)
        if entry.state in CHARGED or event.until <= now:
            raise IllegalEvent(f"model '{event.model}' is {entry.state.value}, until {event.until}")
        hold_back(self._replica, self._retries, entry, event, now)

    def _server_down(self, event: events.ServerDown, now: float) -> None:
        replica = self._replica
        replica.up = replica.recycling = False
        replica.ledger.withheld = 0
        hot = list(replica.residents(now))
        serving = {entry.model for entry in hot}
        lost = [replica.entries[model] for model in replica.ledger.charges if model not in serving]
        for entry in (*hot, *lost):
            replica.step(entry, Step.LOST)
            replica.set_verifying(entry, False)
            if entry.removed:
                replica.forget(entry)
            elif replica.waiting.waiting_for(entry.model):
                replica.want(entry, now)
        replica.stale.clear()
        replica.unfit.clear()
        for entry in hot:
            if not entry.removed:
                replica.warm_up(entry)

    def _server_up(self, event: events.ServerUp, now: float) -> None:
        if self._replica.up:
            raise IllegalEvent("the server is up already")
        if self._replica.recycling:
            raise IllegalEvent(
                "the server is being recycled; its end must be told before the new one"
            )
        self._replica.up = self._replica.filling = True
        self._replica.changed = True

    def _budget_changed(self, event: events.BudgetChanged, now: float) -> None:
        if event.budget <= 0:
            raise IllegalEvent(f"budget {event.budget}: expected bytes above 0")
        budget_changed(self._replica, event.budget)

    def _withhold(self, event: events.Withhold, now: float) -> None:
        if event.size < 0:
            raise IllegalEvent(f"withheld {event.size} bytes: expected 0 or more")
        nobodys = Cause.LOST if event.lost else Cause.GUARD
        self._replica.deficit = Cause.SURPRISE if event.owed else nobodys
        self._set_withheld(event.size)

    def _set_withheld(self, size: int) -> None:
        self._replica.ledger.withheld, self._replica.changed = size, True
        self._replica.reconsider_unfit()

    def _recycle(self, event: events.Recycle, now: float) -> None:
        replica = self._replica
        if not replica.up:
            return  # it died meanwhile, which is as good
        replica.up, replica.recycling = False, True
        hot = list(replica.residents(now))
        for entry in hot:
            if not entry.removed:
                replica.warm_up(entry)
        for entry in replica.draining.values():
            if entry.cause not in (Cause.REMOVED, Cause.UPDATED):
                entry.cause = Cause.RECYCLED
        for entry in hot:
            if entry.state is State.RESIDENT:
                replica.begin_drain(entry, Cause.RECYCLED, now)

    def _leave_for_recycling(self, entry: Entry, now: float) -> None:
        """Its load ended after all others began to leave."""
        self._replica.warm_up(entry)
        self._replica.begin_drain(entry, Cause.RECYCLED, now)

    def _tick(self, event: events.Tick, now: float) -> None:
        """Time alone: what is due is done for every event."""

    def _due_retries(self, now: float) -> None:
        """A model whose load failed is tried again by itself after its backoff, if there is room anyway (law 7)."""
        replica = self._replica
        for entry in self._retries.take_due(replica.entries, now):
            if entry.state in (State.COLD, State.FAILED):
                replica.warm_up(entry)
            elif entry.state is State.RESIDENT:
                replica.mark_stale(entry)
