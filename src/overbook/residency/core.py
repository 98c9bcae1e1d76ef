"""`Core.handle(event, now) -> effects`: the laws of memory of one server replica (DESIGN section 4).

Here each event is checked, and given its meaning or handed to the module that does: `arrivals`, `assigning`,
`load_ends`, `leaving`, `server_life`, `fitting`, `holding`. The moves are in `replica`, who gets room in `allocation`,
the life of a model in `states`. An illegal event raises `IllegalEvent` and changes nothing; replaying a log gives the
same effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from overbook.residency import (
    arrivals,
    assigning,
    events,
    files_leaving,
    holding,
    load_ends,
    next_load,
    outlook,
    server_life,
    together,
)
from overbook.residency.allocation import allocate
from overbook.residency.effects import Cause, Effect, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import Event, ModelName
from overbook.residency.fitting import budget_changed, deadline_reason
from overbook.residency.leaving import unloaded
from overbook.residency.ledger import Ledger
from overbook.residency.outlook import Statistics
from overbook.residency.policy import EvictionOrder
from overbook.residency.replica import Limits, ReplicaState
from overbook.residency.retries import Retries
from overbook.residency.states import CHARGED, IllegalStep, State
from overbook.residency.under_way import Drain, Loading
from overbook.residency.worth import Worth

# Who asks for the eviction of a model that leaves for one of these gets what was asked for.
_FOR_OTHERS: Final = frozenset({Cause.PRESSURE, Cause.AHEAD, Cause.CALLEE, Cause.DISK})


class IllegalEvent(IllegalStep):
    """The event cannot happen now; nothing was changed."""


class Core:
    """The residency of one replica: a handler for each event. Bytes, and seconds on the caller's monotonic clock.

    Large, as it has a handler for each event and a method for each question; what they decide is in other modules.
    """

    __slots__ = ("_handlers", "_replica", "_retries", "_wake")

    def __init__(
        self, *, budget: int, limits: Limits | None = None, order: EvictionOrder | None = None
    ) -> None:
        self._replica = ReplicaState(
            Ledger(budget),
            limits if limits is not None else Limits(),
            order if order is not None else Worth(),
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
            events.DiskRoomWanted: self._disk_room_wanted,
            events.FilesLeft: self._files_left,
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
        good = next_load.fallback(self._replica, self._replica.entries[model])
        return 0 if good is None else good.generation

    def hopeless(self, model: ModelName, now: float) -> str:
        """See `together`."""
        return together.hopeless(self._replica, self._replica.entries[model], now)

    def hopeless_callers(self, now: float) -> dict[ModelName, str]:
        """The models that cannot be loaded because of what they call, and why."""
        entries = self._replica.entries
        callers = (each for each in self._replica.calls.all_callers() if each in entries)
        return {each: why for each in callers if (why := self.hopeless(each, now))}

    def wanted(self, model: ModelName) -> bool:
        """See `together`."""
        return together.wanted(self._replica, model)

    def leaves_for_good(self, model: ModelName, now: float) -> bool:
        """See `files_leaving`."""
        return files_leaving.leaves_for_good(self._replica, self._replica.entries[model], now)

    def files_leaving(self, now: float) -> tuple[bool, ...]:
        """See `files_leaving`."""
        return files_leaving.files_leaving(self._replica, now)

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
            if entry.drain is None or entry.drain.deadline > now:
                break
            replica.end_drain(entry, entry.drain)
        if replica.settled:
            together.release(replica)
        if self._retries.next() <= now:
            holding.try_due(replica, self._retries, now)
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

    def _loading(self, model: ModelName) -> tuple[Entry, Loading]:
        entry = self._entry(model)
        if entry.loading is None:
            raise self._unexpected(entry, State.LOADING, State.RELOADING)
        return entry, entry.loading

    def _unexpected(self, entry: Entry, *states: State) -> IllegalEvent:
        expected = " or ".join(state.value for state in states)
        return IllegalEvent(f"model '{entry.model}' is {entry.state.value}; expected {expected}")

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
        if not 0 <= event.sequence_idle < math.inf:
            raise IllegalEvent(
                f"model '{event.model}': sequence idle {event.sequence_idle}: expected seconds, 0 or more"
            )
        entry = replica.entries.get(event.model)
        if entry is None:
            assigning.assign(replica, self._retries, event, now)
            return
        if event.generation < entry.generation and not entry.removed:
            raise IllegalEvent(
                f"model '{event.model}': generation {event.generation} after {entry.generation}"
            )
        assigning.change(replica, self._retries, entry, event, now)

    def _remove(self, event: events.Remove, now: float) -> None:
        assigning.remove(self._replica, self._entry(event.model), now)

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
        arrivals.arrive(replica, entry, event, now)

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
            replica.use(entry, min(event.last_active, now))

    # -- results of effects

    def _load_succeeded(self, event: events.LoadSucceeded, now: float) -> None:
        entry, load = self._loading(event.model)
        if event.measured is not None and event.measured < 0:
            raise IllegalEvent(f"model '{event.model}': measured {event.measured} bytes")
        load_ends.succeeded(self._replica, self._retries, entry, load, event, now)

    def _load_failed(self, event: events.LoadFailed, now: float) -> None:
        entry, load = self._loading(event.model)
        load_ends.failed(self._replica, self._retries, entry, load, event, now)

    def _measured(self, event: events.Measured, now: float) -> None:
        if event.size < 0:
            raise IllegalEvent(f"model '{event.model}': measured {event.size} bytes")
        entry = self._entry(event.model)
        if entry.state not in CHARGED:
            raise self._unexpected(entry, *CHARGED)
        if event.withheld is not None:
            server_life.withhold(self._replica, event.withheld)
        load_ends.measured(self._replica, entry, event.size)

    def _withdrawn(self, event: events.Withdrawn, now: float) -> None:
        entry, drain = self._draining(event)
        if entry is not None and drain is not None and not drain.withdrawn:
            entry.drain = drain.without_route()
            self._replica.settle(entry)

    def _drained(self, event: events.Drained, now: float) -> None:
        entry, drain = self._draining(event)
        if entry is None or drain is None:
            return
        if not drain.withdrawn or entry.granted:
            raise IllegalEvent(f"model '{event.model}' drained before it was asked to settle")
        self._replica.set_in_flight(entry, 0)  # whatever a meter said before
        self._replica.end_drain(entry, drain)

    def _draining(
        self, answer: events.Withdrawn | events.Drained
    ) -> tuple[Entry, Drain] | tuple[None, None]:
        """The model that drains; None when a rescue crossed the answer: an old ticket means nothing."""
        entry = self._replica.draining.get(answer.model)
        if entry is None or entry.drain is None or entry.drain.ticket != answer.ticket:
            return None, None
        return entry, entry.drain

    def _unloaded(self, event: events.Unloaded, now: float) -> None:
        entry = self._entry(event.model)
        if entry.unloading is None:
            raise self._unexpected(entry, State.UNLOADING)
        unloaded(self._replica, entry, entry.unloading, now)

    def _verified(self, event: events.Verified, now: float) -> None:
        entry = self._entry(event.model)
        if not entry.verifying:
            raise IllegalEvent(f"model '{event.model}' was not being verified")
        arrivals.verified(self._replica, entry, now, present=event.present)

    # -- people and the server

    def _evict_requested(self, event: events.EvictRequested, now: float) -> None:
        entry = self._entry(event.model)
        if entry.state is State.RESIDENT:
            self._replica.begin_drain(entry, Cause.REQUESTED, now)
        elif entry.drain is not None and entry.drain.cause in _FOR_OTHERS:
            entry.drain = entry.drain.because(Cause.REQUESTED)
        self._replica.warm.drop(event.model)

    def _try_again(self, event: events.TryAgain, now: float) -> None:
        holding.try_again(self._replica, self._retries, self._entry(event.model))

    def _hold_back(self, event: events.HoldBack, now: float) -> None:
        entry = self._entry(event.model)
        if entry.state in CHARGED or event.until <= now:
            raise IllegalEvent(f"model '{event.model}' is {entry.state.value}, until {event.until}")
        holding.hold_back(self._replica, self._retries, entry, event, now)

    def _server_down(self, event: events.ServerDown, now: float) -> None:
        server_life.down(self._replica, now)

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
        server_life.withhold(self._replica, event.size)

    def _recycle(self, event: events.Recycle, now: float) -> None:
        if self._replica.up:  # else it died meanwhile, which is as good
            server_life.recycle(self._replica, now)

    def _disk_room_wanted(self, event: events.DiskRoomWanted, now: float) -> None:
        if event.missing < 0 or any(each.size < 0 for each in event.files):
            raise IllegalEvent("room on the disk: expected bytes, 0 or more")
        self._replica.disk = event if event.missing else None
        self._replica.changed = True

    def _files_left(self, event: events.FilesLeft, now: float) -> None:
        self._replica.warm.drop(event.model)

    def _tick(self, event: events.Tick, now: float) -> None:
        """Time alone: what is due is done for every event."""
