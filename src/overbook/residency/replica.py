"""The state of one server replica and the elementary moves on it; each keeps states, ledger and order in step.

No judgement may live here: which move is made, and when, is decided in `core` (events) and `allocation` (room).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from overbook.residency.by_size import BySize
from overbook.residency.calls import Calls
from overbook.residency.effects import (
    Cause,
    Effect,
    Forgotten,
    Grant,
    Load,
    Publish,
    Refusal,
    Reject,
    Settle,
    Unload,
    Verify,
    Withdraw,
)
from overbook.residency.entry import Entry
from overbook.residency.events import DiskRoomWanted, ModelName, RequestId, Ticket
from overbook.residency.granted import Granted
from overbook.residency.learned import Demand, LoadTimes
from overbook.residency.ledger import Ledger
from overbook.residency.policy import EvictionOrder, Standing
from overbook.residency.shelf import Shelf
from overbook.residency.states import CHARGED, SERVING, State, Step, next_state
from overbook.residency.sums import Sums
from overbook.residency.under_way import Drain, Loading
from overbook.residency.waiting import WaitingRoom

_Queue = OrderedDict[ModelName, None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server replica. Times in seconds."""

    concurrent_loads: int = 2
    # Loads that take longer than ``long_after`` (seconds) have places of their own, so that nobody waits behind them.
    long_loads: int = 2
    long_after: float = 1.0
    # Bytes that loads may take for a moment beyond what is free, together; one alone may take what it needs.
    overdraft: int = 8 << 20
    # Activations beyond the running loads for which room is made already, so that draining overlaps loading.
    lookahead: int = 2
    # Room kept free for activations to come, in sizes of a typical one; 0: none. See `ahead`.
    headroom: float = 1.0
    # Whose request waits longer than this (seconds) for room gets it even from models that are in use.
    patience: float = 2.0
    max_waiting: int = 10_000
    max_waiting_per_model: int = 2_000
    # A request that was passed on longer ago than this is seen by the gateways' meters, which are read every 100 ms.
    unseen: float = 0.125
    drain_timeout: float = 60.0
    # Tries of a content that was refused for what it is, after the first one; then it is given up.
    retries: int = 3
    retry_base: float = 1.0
    retry_max: float = 300.0

    def backoff(self, failures: int) -> float:
        """Seconds until the next try after that many failures in a row."""
        return min(self.retry_max, self.retry_base * math.ldexp(1.0, min(failures, 30) - 1))


@dataclass(slots=True, eq=False)
class ReplicaState:
    """Entries, ledger, eviction order and waiters of one replica, and the effects of the current event.

    Large, as no move may be made anywhere else: each keeps all of these in step.
    """

    ledger: Ledger
    limits: Limits
    order: EvictionOrder
    sums: Sums = field(init=False)
    load_times: LoadTimes = field(default_factory=LoadTimes)
    demand: Demand = field(default_factory=Demand)
    waiting: WaitingRoom = field(default_factory=WaitingRoom)
    granted: Granted = field(default_factory=Granted)
    entries: dict[ModelName, Entry] = field(default_factory=dict)
    calls: Calls = field(default_factory=Calls)
    by_size: BySize = field(default_factory=BySize)
    effects: list[Effect] = field(default_factory=list)
    pending: _Queue = field(default_factory=OrderedDict)  # cold, with waiters
    warm: Shelf = field(default_factory=Shelf)  # cold, worth loading into room that is free anyway
    filling: bool = False  # whether to do so now; not whenever room becomes free
    room_due: bool = False  # an activation took room: some may be made for the next
    stale: _Queue = field(default_factory=OrderedDict)  # resident in an old generation
    unfit: dict[ModelName, None] = field(default_factory=dict)  # stale, too large as things are
    draining: dict[ModelName, Entry] = field(default_factory=dict)  # earliest drain deadline first
    # Draining, and only callers are in the way of their unload.
    settled: dict[ModelName, None] = field(default_factory=dict)
    loading: set[ModelName] = field(default_factory=set)
    refused: dict[ModelName, None] = field(default_factory=dict)  # larger than the budget
    blocked: bool = False  # somebody waits for a model in use to become idle
    changed: bool = False  # something that could let a load begin; else no look at the queues
    tickets: int = 0  # given so far
    up: bool = False
    recycling: bool = False
    deficit: Cause = Cause.BUDGET  # why the charges exceed the room, when they do
    disk: DiskRoomWanted | None = None  # files that have to leave the disk, as was said last

    def __post_init__(self) -> None:
        self.sums = Sums(self.ledger)

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def _put_in(self, entry: Entry, held_before: int) -> None:
        """After a change of an entry that was taken out of the sums. ``held_before``: by its pin."""
        held = self.sums.put_in(entry)
        self.changed = True
        if held < held_before and self.unfit:
            self.reconsider_unfit()

    # -- elementary moves

    def step(
        self,
        entry: Entry,
        step: Step,
        *,
        loading: Loading | None = None,
        drain: Drain | None = None,
        unloading: Cause | None = None,
    ) -> None:
        """Move along the table and keep what depends on the state. Raises IllegalStep and changes nothing.

        The state after it says which of the others is given, see `Entry`.
        """
        after = next_state(entry.state, step)
        held = self.sums.take_out(entry)
        self.loading.discard(entry.model)
        if loading is not None:
            self.loading.add(entry.model)
        self.draining.pop(entry.model, None)
        if drain is not None:
            self.draining[entry.model] = entry
        if after not in SERVING:
            self.order.discard(entry.model)
        if after is not State.FAILED:
            self.refused.pop(entry.model, None)
        entry.state = after
        entry.loading, entry.drain, entry.unloading = loading, drain, unloading
        if after not in CHARGED:
            self.ledger.release(entry.model)
            self.granted.void(entry.model)
            entry.in_flight = entry.granted = 0
            entry.unseen_until = -math.inf
        self._put_in(entry, held)

    def recharge(self, entry: Entry, size: int) -> None:
        """Correct what a charged model holds."""
        if size == self.ledger.of(entry.model) != 0:
            return
        held = self.sums.take_out(entry)
        self.ledger.charge(entry.model, size)
        self._put_in(entry, held)

    def resize_load(self, entry: Entry, load: Loading, size: int) -> None:
        """Correct what the load under way will take."""
        held = self.sums.take_out(entry)
        before = load.size + load.extra
        extra = max(0, min(before, max(entry.reserve, entry.peak)) - size)
        entry.loading = load._replace(size=size, extra=extra)
        self.ledger.charge(entry.model, self.ledger.of(entry.model) + size + extra - before)
        self._put_in(entry, held)

    def set_size(self, entry: Entry, size: int) -> None:
        """What the model is believed to need; what it is charged is another matter."""
        entry.size = size
        self.by_size.put(entry.model, size)

    def set_pinned(self, entry: Entry, pinned: bool) -> None:
        if pinned != entry.pinned:
            held = self.sums.take_out(entry)
            entry.pinned = pinned
            self._put_in(entry, held)

    def set_in_flight(self, entry: Entry, in_flight: int) -> None:
        if (in_flight > 0) == (entry.in_flight > 0):
            entry.in_flight = in_flight
            return
        held = self.sums.take_out(entry)
        entry.in_flight = in_flight
        self._put_in(entry, held)

    def expected_seconds(self, entry: Entry) -> float:
        """What a load of the model is expected to take."""
        seconds = entry.load_seconds
        return self.load_times.expect(entry.size) if seconds is None else seconds

    def takes_long(self, entry: Entry) -> bool:
        """Whether a load of the model is expected to need one of the places for long ones."""
        return self.expected_seconds(entry) > self.limits.long_after

    def seat(self, entry: Entry, *, used: bool = False) -> None:
        """Give a serving model its place in the eviction order; ``used``: because of a use."""
        if entry.state in SERVING:
            size, seconds = self.ledger.of(entry.model), self.expected_seconds(entry)
            standing = Standing(entry.priority, entry.last_used, size, seconds)
            self.order.place(entry.model, standing, used=used)

    # -- queues

    def want(self, entry: Entry, now: float) -> None:
        """Somebody waits for a model that is not in memory."""
        entry.wanted_since = min(entry.wanted_since, now)
        self.pending.setdefault(entry.model, None)
        self.changed = True

    def unwant(self, model: ModelName) -> None:
        if model in self.pending:
            del self.pending[model]
            self.entries[model].wanted_since = math.inf
            self.changed = True

    def warm_up(self, entry: Entry) -> None:
        self.warm.put(entry.model, entry.heat)
        self.filling = self.changed = True

    def mark_stale(self, entry: Entry) -> None:
        """Queue a serving model for its reload, if its content is not the newest."""
        if entry.stale:
            self.stale.setdefault(entry.model, None)
            self.changed = True

    def reconsider_unfit(self) -> None:
        """Pins or budget changed: what did not fit may fit now."""
        unfit, self.unfit = self.unfit, {}
        for model in unfit:
            entry = self.entries[model]
            if entry.state is State.RESIDENT:
                self.mark_stale(entry)
            elif entry.size > self.sums.room_for(entry):
                self.unfit[model] = None
            else:
                entry.reason = entry.failure  # its backoff goes on

    # -- moves with effects

    def may_overdraw(self, size: int) -> bool:
        """Whether a load may take so many bytes beyond what is free (`Limits.overdraft`)."""
        taken = self.overdrawn
        return size <= 0 or not taken or taken + size <= self.limits.overdraft

    @property
    def overdrawn(self) -> int:
        """Bytes that loads under way take for a moment beyond what they are charged."""
        return sum(self.entries[model].overdraft for model in self.loading)

    def begin_load(self, entry: Entry, load: Loading) -> None:
        self.step(entry, Step.BEGIN_LOAD, loading=load)
        self.recharge(entry, load.size + load.extra)
        self.pending.pop(entry.model, None)
        entry.wanted_since = math.inf
        self.warm.drop(entry.model)
        self._load(entry, load, reload=False)

    def begin_reload(self, entry: Entry, load: Loading) -> None:
        self.step(entry, Step.BEGIN_RELOAD, loading=load)
        self.recharge(entry, entry.loaded_size + load.size + load.extra)
        self.stale.pop(entry.model, None)
        self._load(entry, load, reload=True)

    def _load(self, entry: Entry, load: Loading, *, reload: bool) -> None:
        if entry.good is not None:
            entry.good.made_way = False  # for one try
        self.emit(Load(entry.model, load.generation, reload))

    def begin_drain(self, entry: Entry, cause: Cause, now: float) -> None:
        drain = Drain(self._ticket(), cause, now + self.limits.drain_timeout)
        entry.left_for = None
        self.step(entry, Step.BEGIN_DRAIN, drain=drain)
        self.stale.pop(entry.model, None)
        if cause is Cause.UPDATED and entry.good is not None:
            entry.good.made_way = True
        self.emit(Withdraw(entry.model, drain.ticket, cause))
        self.leave_with(entry, now)

    def leave_with(self, entry: Entry, now: float) -> None:
        """Who calls the model leaves too, as it can be asked no more."""
        for model in self.calls.callers(entry.model):
            caller = self.entries.get(model)
            if caller is not None and caller.state is State.RESIDENT:
                self.begin_drain(caller, Cause.CALLEE, now)

    def called_from_memory(self, entry: Entry) -> bool:
        """Whether a caller is still there, so that the model may not be unloaded. In a circle nobody would begin."""
        callers = self.calls.callers(entry.model)
        if not callers:
            return False
        below = self.calls.below(entry.model)
        return any(each in self.ledger.charges for each in callers if each not in below)

    def end_drain(self, entry: Entry, drain: Drain) -> None:
        """Nothing is in flight any more, or it was waited for long enough."""
        if not self.called_from_memory(entry):
            self.begin_unload(entry, drain)
            return
        entry.drain = drain.until_callers_left()
        del self.draining[entry.model]
        self.draining[entry.model] = entry
        self.settled[entry.model] = None

    def withdraw_deleted(self, entry: Entry) -> None:
        """What is reloaded was deleted: its route goes at once, and nobody waits until it is gone."""
        self.emit(Withdraw(entry.model, self._ticket(), Cause.REMOVED))

    def _ticket(self) -> Ticket:
        self.tickets += 1
        return Ticket(self.tickets)

    def settle(self, entry: Entry) -> None:
        """Go on with a drain when nobody who was granted the model is still on the way to it (law 9)."""
        if entry.drain is not None and entry.drain.withdrawn and not entry.granted:
            self.emit(Settle(entry.model, entry.drain.ticket))

    def rescue(self, entry: Entry) -> None:
        """Put a draining model back, with all that it calls; its unload was not sent."""
        for model in self.calls.callees(entry.model):
            callee = self.entries[model]
            if callee.drain is not None:
                self.rescue(callee)
        self.step(entry, Step.RESCUE)
        self.seat(entry)
        self.mark_stale(entry)
        self.emit(Publish(entry.model))
        if self.waiting.waiting_for(entry.model):
            self.begin_verify(entry)  # who waited for the end of the drain is served here and now

    def begin_verify(self, entry: Entry) -> None:
        if not entry.verifying:
            # Room that was made for its reload is nobody's until the answer.
            self.set_verifying(entry, True)
            self.emit(Verify(entry.model))

    def set_verifying(self, entry: Entry, verifying: bool) -> None:
        held = self.sums.take_out(entry)
        entry.verifying = verifying
        self._put_in(entry, held)

    def begin_unload(self, entry: Entry, drain: Drain) -> None:
        self.step(entry, Step.BEGIN_UNLOAD, unloading=drain.cause)
        self.emit(Unload(entry.model))

    def forget(self, entry: Entry) -> None:
        for queue in (self.pending, self.stale, self.refused):
            queue.pop(entry.model, None)
        self.warm.drop(entry.model)
        self.order.forget(entry.model)
        self.by_size.drop(entry.model)
        self.calls.set(entry.model, ())
        del self.entries[entry.model]
        self.emit(Forgotten(entry.model))

    def grant(self, entry: Entry, requests: list[RequestId], now: float) -> None:
        """Requests use the model from now on: it is the youngest in the order, and stays until they are passed on."""
        if requests:
            self.use(entry, now)
        for request in requests:
            self.granted.add(request, entry.model)
            self.emit(Grant(request))
        sums = self.sums
        sums.idle_bytes -= sums.idle(entry)
        entry.granted = self.granted.of(entry.model)
        sums.idle_bytes += sums.idle(entry)

    def use(self, entry: Entry, when: float) -> None:
        """A request used the model at that time, in seconds, and with it all that it calls."""
        entry.last_used = when
        self.seat(entry, used=True)
        for model in self.calls.below(entry.model):
            callee = self.entries.get(model)
            if callee is not None and callee.last_used < when:
                callee.last_used = when
                self.seat(callee, used=True)

    def grant_all(self, entry: Entry, now: float) -> None:
        """All who wait go through together, before the model can leave again."""
        self.grant(entry, self.waiting.release(entry.model), now)

    def passed(self, entry: Entry, now: float) -> None:
        """One of its granted requests is on its way to the server, where the meters will see it."""
        entry.unseen_until = now + self.limits.unseen
        left = self.granted.of(entry.model)
        if left:
            entry.granted = left
            return
        held = self.sums.take_out(entry)
        entry.granted = 0
        self._put_in(entry, held)
        self.settle(entry)

    def reject_all(self, entry: Entry, refusal: Refusal, reason: str, retry_after: float) -> None:
        self.unwant(entry.model)
        for request in self.waiting.release(entry.model):
            self.emit(Reject(request, refusal, reason, retry_after))

    def reject(self, request: RequestId, refusal: Refusal, reason: str, after: float = 0.0) -> None:
        self.emit(Reject(request, refusal, reason, after))

    def left(self, model: ModelName) -> None:
        """A waiter of the model is gone; with the last one the wish is gone too (law 6)."""
        if not self.waiting.waiting_for(model):
            self.unwant(model)

    def residents(self, now: float) -> Iterator[Entry]:
        """In eviction order, first to leave first."""
        return (self.entries[model] for model in self.order.order(now))
