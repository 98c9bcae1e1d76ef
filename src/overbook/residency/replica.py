"""The state of one server replica and the elementary moves on it; each keeps states, ledger and order in step.

No judgement may live here: which move is made, and when, is decided in `core` (events) and `allocation` (room).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from overbook.residency.effects import (
    Cause,
    Effect,
    Evicted,
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
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.good import Good
from overbook.residency.granted import Granted
from overbook.residency.learned import Demand, LoadTimes
from overbook.residency.ledger import Ledger
from overbook.residency.policy import EvictionOrder, Standing
from overbook.residency.shelf import Heat, Shelf
from overbook.residency.states import CHARGED, SERVING, State, Step, next_state
from overbook.residency.waiting import WaitingRoom

_NO_TICKET = Ticket(0)


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


@dataclass(slots=True)
class Entry:
    """What is known of one assigned model. Times on the caller's clock; ``last_used`` is -inf when never used."""

    model: ModelName
    size: int
    generation: int
    pinned: bool
    priority: int
    keep_alive: float = 0.0
    load_seconds: float | None = None
    reserve: int = 0  # bytes to charge while it loads, when they are more than its size
    peak: int = 0  # bytes that it takes for a moment while it loads
    state: State = State.COLD
    loaded_generation: int = 0
    loaded_size: int = 0
    good: Good | None = None  # what was loaded last, and may serve; see `Good`
    loading_generation: int = 0  # of the load under way; what arrives meanwhile makes it stale
    loading_size: int = 0
    loading_peak: int = 0
    loading_extra: int = 0  # charged beyond that until the load ended
    loading_deleted: bool = False  # deleted since, and other content applied under its name
    overdraft: int = 0  # taken for a moment beyond what was free when the load began
    load_began: float = -math.inf
    in_flight: int = 0
    last_used: float = -math.inf
    wanted_since: float = math.inf  # when the wish that is still open began; inf: nobody waits
    granted: int = 0  # requests granted and not passed on yet
    unseen_until: float = -math.inf  # before that no meter may have seen the last one passed on
    ticket: Ticket = _NO_TICKET
    cause: Cause = Cause.PRESSURE
    withdrawn: bool = False  # it drains, and all gateways took its route away
    drain_deadline: float = math.inf
    failures: int = 0
    lasting: int = 0  # of these in a row, failures that lie in the content
    retry_at: float = -math.inf  # inf: given up
    failure: str = ""  # what the inference server said when the last load failed
    reason: str = ""  # why it is not as it should be, for people
    barred: bool = False  # held back for what it did, not for what was said of it
    removed: bool = False
    verifying: bool = False
    loads: int = 0
    evictions: int = 0

    @property
    def stale(self) -> bool:
        return self.loaded_generation != self.generation

    @property
    def serves(self) -> bool:
        """Whether its copy in memory answers. One that was deleted while it was reloaded does not any more."""
        return self.state in SERVING and self.good is not None

    @property
    def heat(self) -> Heat:
        return self.pinned, self.priority, self.last_used

    @property
    def given_up(self) -> bool:
        """Whether it is not tried again by itself."""
        return self.retry_at == math.inf

    def kept_alive(self, now: float) -> bool:
        return now < self.last_used + self.keep_alive

    @property
    def in_use(self) -> bool:
        """Whether a request needs it now, as far as is known (laws 3 and 9)."""
        return self.granted > 0 or self.in_flight > 0

    @property
    def busy(self) -> bool:
        return self.granted > 0 or self.in_flight > 0 or self.verifying

    def uncertain(self, now: float) -> bool:
        """Whether its last request was passed on so recently that nobody can have counted it yet."""
        return now < self.unseen_until


class ReplicaState:
    """Entries, ledger, eviction order and waiters of one replica, and the effects of the current event.

    Large, as no move may be made anywhere else: each keeps all of these in step.
    """

    __slots__ = (
        "assigned_bytes",
        "blocked",
        "by_size",
        "changed",
        "coming_back",
        "deficit",
        "demand",
        "draining",
        "effects",
        "entries",
        "filling",
        "granted",
        "idle_bytes",
        "ledger",
        "limits",
        "load_times",
        "loading",
        "order",
        "pending",
        "pinned_bytes",
        "recycling",
        "refused",
        "room_due",
        "stale",
        "ticket",
        "unfit",
        "up",
        "waiting",
        "warm",
    )

    def __init__(self, *, budget: int, limits: Limits, order: EvictionOrder) -> None:
        self.limits = limits
        self.ledger = Ledger(budget)
        self.load_times = LoadTimes()
        self.order = order
        self.waiting = WaitingRoom()
        self.granted = Granted()
        self.entries: dict[ModelName, Entry] = {}
        self.effects: list[Effect] = []
        self.pending: OrderedDict[ModelName, None] = OrderedDict()  # cold, with waiters
        self.warm = Shelf()  # cold, worth loading into room that is free anyway
        self.filling = False  # whether to do so now; not whenever room becomes free
        self.demand = Demand()
        self.room_due = False  # an activation took room: some may be made for the next
        self.stale: OrderedDict[ModelName, None] = OrderedDict()  # resident in an old generation
        self.unfit: dict[ModelName, None] = {}  # stale, but the new content does not fit as it is
        self.draining: dict[ModelName, Entry] = {}  # earliest drain deadline first
        self.loading: set[ModelName] = set()
        self.assigned_bytes = 0  # sizes of all entries
        self.by_size = Shelf()  # all entries, the largest at hand
        self.refused: dict[ModelName, None] = {}  # larger than the budget
        self.coming_back = 0  # bytes that will be free without a further decision: see returning
        self.idle_bytes = 0  # what could leave for others: see idle
        self.pinned_bytes = 0  # bytes that no pressure can free: see held_by_pin
        self.blocked = False  # somebody waits for a model in use to become idle
        self.changed = False  # something that could let a load begin; what does not, costs no look at the queues
        self.ticket = 0
        self.up = False
        self.recycling = False
        self.deficit = Cause.BUDGET  # why the charges exceed the room, when they do

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    # -- sums

    def returning(self, entry: Entry) -> int:
        """Bytes on their way back. A draining model that is in use counts only when it is idle (law 3).

        What a load takes for a moment comes back with its end: nobody leaves for a load behind it in the meantime.
        """
        if entry.state in (State.LOADING, State.RELOADING):
            return entry.loading_extra
        if entry.state is State.UNLOADING or (entry.state is State.DRAINING and not entry.in_use):
            return self.ledger.of(entry.model)
        return 0

    def idle(self, entry: Entry) -> int:
        """Bytes that come back when it leaves, which it may do for another's sake (laws 3 and 9); else 0."""
        if entry.state is not State.RESIDENT or entry.pinned or entry.busy:
            return 0
        return self.ledger.of(entry.model)

    def held_by_pin(self, entry: Entry) -> int:
        """Bytes that a pin keeps for good; of a reload, which holds two copies, the smaller one."""
        if not entry.pinned:
            return 0
        if entry.state is State.LOADING:
            return entry.loading_size
        if entry.state is State.RELOADING:
            return min(entry.loaded_size, entry.loading_size)
        leaving = entry.state in (State.DRAINING, State.UNLOADING)
        return 0 if leaving else self.ledger.of(entry.model)

    def room_for(self, entry: Entry) -> int:
        """The most bytes that it could ever have, as budget and pins are."""
        return self.ledger.budget - (self.pinned_bytes - self.held_by_pin(entry))

    def fallback(self, entry: Entry) -> Good | None:
        """The older content that its next load takes, as the newest has failed or has no place; None: the newest."""
        good = entry.good
        if good is None or good.generation == entry.generation or entry.state in CHARGED:
            return None
        room = self.room_for(entry)
        failed = entry.failures and not good.made_way
        return good if good.size <= room and (failed or entry.size > room) else None

    def size_to_load(self, entry: Entry) -> int:
        """Bytes of the content that its next load takes."""
        good = self.fallback(entry)
        return entry.size if good is None else good.size

    def peak(self, entry: Entry) -> int:
        """Bytes that its next load takes for a moment."""
        good = self.fallback(entry)
        return entry.peak if good is None else good.peak

    def held_back(self, entry: Entry, now: float) -> tuple[str, float] | None:
        """Why its next load may not begin yet, and for how many seconds (0: for good); None when it may."""
        good = self.fallback(entry)
        until, why = (
            (entry.retry_at, entry.failure) if good is None else (good.retry_at, good.failure)
        )
        if now >= until:
            return None
        return why, until - now if until < math.inf else 0.0

    def needs(self, entry: Entry) -> int:
        """Bytes that a load of it is charged: its size, or what is reserved, as far as that could ever be had."""
        good = self.fallback(entry)
        if good is not None:
            return good.size
        if entry.reserve <= entry.size:
            return entry.size
        others = self.pinned_bytes - self.held_by_pin(entry)
        old = entry.loaded_size if entry.state is State.RESIDENT else 0
        room = self.ledger.budget - self.ledger.withheld - others - old
        return max(entry.size, min(entry.reserve, room))

    def _take_out(self, entry: Entry) -> int:
        """Before a change: take the entry out of the sums. Returns what `_put_in` wants to know after it."""
        self.coming_back -= self.returning(entry)
        self.idle_bytes -= self.idle(entry)
        if not entry.pinned:
            return 0
        held = self.held_by_pin(entry)
        self.pinned_bytes -= held
        return held

    def _put_in(self, entry: Entry, held_before: int) -> None:
        self.coming_back += self.returning(entry)
        self.idle_bytes += self.idle(entry)
        held = self.held_by_pin(entry) if entry.pinned else 0
        self.pinned_bytes += held
        self.changed = True
        if held < held_before and self.unfit:
            self.reconsider_unfit()

    # -- elementary moves

    def step(self, entry: Entry, step: Step) -> None:
        """Move along the table and keep what depends on the state. Raises IllegalStep and changes nothing."""
        after = next_state(entry.state, step)
        held = self._take_out(entry)
        self.loading.discard(entry.model)
        if after in (State.LOADING, State.RELOADING):
            self.loading.add(entry.model)
        self.draining.pop(entry.model, None)
        if after is State.DRAINING:
            self.draining[entry.model] = entry
        if after not in SERVING:
            self.order.discard(entry.model)
        entry.state = after
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
        held = self._take_out(entry)
        self.ledger.charge(entry.model, size)
        self._put_in(entry, held)

    def resize_load(self, entry: Entry, size: int) -> None:
        """Correct what the load under way will take."""
        held = self._take_out(entry)
        before = entry.loading_size + entry.loading_extra
        entry.loading_size = size
        entry.loading_extra = max(0, min(before, max(entry.reserve, entry.peak)) - size)
        change = size + entry.loading_extra - before
        self.ledger.charge(entry.model, self.ledger.of(entry.model) + change)
        self._put_in(entry, held)

    def set_size(self, entry: Entry, size: int) -> None:
        """What the model is believed to need; what it is charged is another matter."""
        self.assigned_bytes += size - entry.size
        entry.size = size
        self.by_size.put(entry.model, (False, 0, float(size)))

    def larger_than(self, size: int) -> list[Entry]:
        """All entries that need more bytes; costs nothing for the others."""
        found: list[Entry] = []
        while (model := self.by_size.take()) is not None:
            found.append(self.entries[model])
            if found[-1].size <= size:
                break
        for entry in found:
            self.by_size.put(entry.model, (False, 0, float(entry.size)))
        return [entry for entry in found if entry.size > size]

    def set_pinned(self, entry: Entry, pinned: bool) -> None:
        if pinned != entry.pinned:
            held = self._take_out(entry)
            entry.pinned = pinned
            self._put_in(entry, held)

    def set_in_flight(self, entry: Entry, in_flight: int) -> None:
        if (in_flight > 0) == (entry.in_flight > 0):
            entry.in_flight = in_flight
            return
        held = self._take_out(entry)
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
            seconds = self.expected_seconds(entry)
            size = self.ledger.of(entry.model)
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
            elif entry.size > self.room_for(entry):
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

    def begin_load(self, entry: Entry, now: float, extra: int) -> None:
        """``extra``: bytes beyond what it needs that are free for the moment in which it takes more."""
        needs = self._begin_any_load(entry, now, extra)
        self.step(entry, Step.BEGIN_LOAD)
        self.recharge(entry, needs)
        self.pending.pop(entry.model, None)
        entry.wanted_since = math.inf
        self.warm.drop(entry.model)
        self.emit(Load(entry.model, entry.loading_generation))

    def begin_reload(self, entry: Entry, now: float, extra: int) -> None:
        needs = self._begin_any_load(entry, now, extra)
        self.step(entry, Step.BEGIN_RELOAD)
        self.recharge(entry, entry.loaded_size + needs)
        self.stale.pop(entry.model, None)
        self.emit(Load(entry.model, entry.generation, reload=True))

    def _begin_any_load(self, entry: Entry, now: float, extra: int) -> int:
        good = self.fallback(entry)
        needs = self.needs(entry) + extra
        entry.load_began = now
        entry.loading_generation = entry.generation if good is None else good.generation
        entry.loading_size, entry.loading_peak = self.size_to_load(entry), self.peak(entry)
        entry.loading_extra = needs - entry.loading_size
        entry.loading_deleted = False
        entry.overdraft = max(0, entry.loading_peak - needs)
        if entry.good is not None:
            entry.good.made_way = False  # for one try
        return needs

    def begin_drain(self, entry: Entry, cause: Cause, now: float) -> None:
        self.step(entry, Step.BEGIN_DRAIN)
        self.stale.pop(entry.model, None)
        entry.cause, entry.withdrawn = cause, False
        entry.drain_deadline = now + self.limits.drain_timeout
        if cause is Cause.UPDATED and entry.good is not None:
            entry.good.made_way = True
        self.withdraw(entry, cause)

    def drain_deleted(self, entry: Entry, now: float) -> None:
        """What is in memory was deleted, and may have been replaced under its name since."""
        self.begin_drain(entry, Cause.REMOVED if entry.removed else Cause.UPDATED, now)

    def withdraw(self, entry: Entry, cause: Cause) -> None:
        """Have the route taken away. Nobody waits for that but a drain, whose ticket this is then."""
        self.ticket += 1
        entry.ticket = Ticket(self.ticket)
        self.emit(Withdraw(entry.model, entry.ticket, cause))

    def settle(self, entry: Entry) -> None:
        """Go on with a drain when nobody who was granted the model is still on the way to it (law 9)."""
        if entry.withdrawn and not entry.granted:
            self.emit(Settle(entry.model, entry.ticket))

    def rescue(self, entry: Entry) -> None:
        """Put a draining model back; its unload was not sent."""
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
        held = self._take_out(entry)
        entry.verifying = verifying
        self._put_in(entry, held)

    def begin_unload(self, entry: Entry) -> None:
        self.step(entry, Step.BEGIN_UNLOAD)
        self.emit(Unload(entry.model))

    def unloaded(self, entry: Entry, now: float) -> None:
        self.step(entry, Step.UNLOADED)
        entry.evictions += 1
        self.emit(Evicted(entry.model, entry.cause))
        if entry.removed:
            self.forget(entry)
        elif self.waiting.waiting_for(entry.model):
            self.want(entry, now)
        elif entry.cause is Cause.UPDATED:
            self.warm_up(entry)
        elif entry.cause is not Cause.REQUESTED:
            self.warm.put(entry.model, entry.heat)  # for when there is more room

    def forget(self, entry: Entry) -> None:
        for queue in (self.pending, self.stale):
            queue.pop(entry.model, None)
        self.warm.drop(entry.model)
        self.order.forget(entry.model)
        self.set_size(entry, 0)
        self.by_size.drop(entry.model)
        self.refused.pop(entry.model, None)
        del self.entries[entry.model]
        self.emit(Forgotten(entry.model))

    def grant(self, entry: Entry, requests: list[RequestId], now: float) -> None:
        """Requests use the model from now on: it is the youngest in the order, and stays until they are passed on."""
        if requests:
            entry.last_used = now
            self.seat(entry, used=True)
        for request in requests:
            self.granted.add(request, entry.model)
            self.emit(Grant(request))
        self.idle_bytes -= self.idle(entry)
        entry.granted = self.granted.of(entry.model)
        self.idle_bytes += self.idle(entry)

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
        held = self._take_out(entry)
        entry.granted = 0
        self._put_in(entry, held)
        if entry.state is State.DRAINING:
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
