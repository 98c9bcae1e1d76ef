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
    Unload,
    Withdraw,
)
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.ledger import Ledger
from overbook.residency.policy import EvictionOrder
from overbook.residency.states import CHARGED, SERVING, State, Step, next_state
from overbook.residency.waiting import WaitingRoom

_NO_TICKET = Ticket(0)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server replica. Times in seconds."""

    concurrent_loads: int = 2
    # Activations beyond the running loads for which room is made already, so that draining overlaps loading.
    lookahead: int = 2
    max_waiting: int = 10_000
    max_waiting_per_model: int = 2_000
    # Long enough for a granted request to reach the server and to be seen by the gateways' meters.
    min_residency: float = 0.25
    drain_timeout: float = 60.0
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
    state: State = State.COLD
    loaded_generation: int = 0
    loaded_size: int = 0
    loading_generation: int = 0  # of the load under way; what arrives meanwhile makes it stale
    loading_size: int = 0
    in_flight: int = 0
    last_used: float = -math.inf
    busy_until: float = -math.inf
    ticket: Ticket = _NO_TICKET
    cause: Cause = Cause.PRESSURE
    drain_deadline: float = math.inf
    failures: int = 0
    retry_at: float = -math.inf
    reason: str = ""
    removed: bool = False
    verifying: bool = False
    loads: int = 0
    evictions: int = 0

    @property
    def stale(self) -> bool:
        return self.loaded_generation != self.generation

    def busy(self, now: float) -> bool:
        """In use, or so young that its first request may not be counted yet (law 3)."""
        return self.in_flight > 0 or now < self.busy_until or self.verifying


class Books:
    """Entries, ledger, eviction order and waiters of one replica, and the effects of the current event."""

    __slots__ = (
        "coming_back",
        "draining",
        "effects",
        "entries",
        "ledger",
        "limits",
        "loading",
        "order",
        "pending",
        "pinned_bytes",
        "retries",
        "stale",
        "ticket",
        "up",
        "waiting",
        "warm",
    )

    def __init__(self, *, budget: int, limits: Limits, order: EvictionOrder) -> None:
        self.limits = limits
        self.ledger = Ledger(budget)
        self.order = order
        self.waiting = WaitingRoom()
        self.entries: dict[ModelName, Entry] = {}
        self.effects: list[Effect] = []
        self.pending: OrderedDict[ModelName, None] = OrderedDict()  # cold, with waiters
        self.warm: OrderedDict[ModelName, None] = OrderedDict()  # to load into free room
        self.stale: OrderedDict[ModelName, None] = OrderedDict()  # resident in an old generation
        self.retries: OrderedDict[ModelName, None] = OrderedDict()  # failed, waiting for retry_at
        self.draining: dict[ModelName, Entry] = {}
        self.loading: set[ModelName] = set()
        self.coming_back = 0  # bytes of draining and unloading models
        self.pinned_bytes = 0  # charged bytes that no pressure can free
        self.ticket = 0
        self.up = False

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def step(self, entry: Entry, step: Step) -> None:
        """Move along the table and keep the sums that depend on the state."""
        after = next_state(entry.state, step)
        charge = self.ledger.of(entry.model)
        if entry.state in (State.DRAINING, State.UNLOADING):
            self.coming_back -= charge
        if after in (State.DRAINING, State.UNLOADING):
            self.coming_back += charge
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
            self._charge(entry, 0)

    def _charge(self, entry: Entry, size: int) -> None:
        before = self.ledger.of(entry.model)
        self.ledger.charge(entry.model, size)
        if entry.pinned:
            self.pinned_bytes += size - before

    def recharge(self, entry: Entry, size: int) -> None:
        """Correct what a charged model holds."""
        if entry.state in (State.DRAINING, State.UNLOADING):
            self.coming_back += size - self.ledger.of(entry.model)
        self._charge(entry, size)

    def set_pinned(self, entry: Entry, pinned: bool) -> None:
        if pinned != entry.pinned:
            charge = self.ledger.of(entry.model)
            self.pinned_bytes += charge if pinned else -charge
            entry.pinned = pinned

    def begin_load(self, entry: Entry) -> None:
        self.step(entry, Step.BEGIN_LOAD)
        self._charge(entry, entry.size)
        entry.loading_generation, entry.loading_size = entry.generation, entry.size
        self.pending.pop(entry.model, None)
        self.warm.pop(entry.model, None)
        self.retries.pop(entry.model, None)
        self.emit(Load(entry.model, entry.generation))

    def begin_reload(self, entry: Entry) -> None:
        self.step(entry, Step.BEGIN_RELOAD)
        self._charge(entry, entry.loaded_size + entry.size)
        entry.loading_generation, entry.loading_size = entry.generation, entry.size
        self.stale.pop(entry.model, None)
        self.retries.pop(entry.model, None)
        self.emit(Load(entry.model, entry.generation, reload=True))

    def begin_drain(self, entry: Entry, cause: Cause, now: float) -> None:
        self.step(entry, Step.BEGIN_DRAIN)
        self.ticket += 1
        entry.ticket = Ticket(self.ticket)
        entry.cause = cause
        entry.drain_deadline = now + self.limits.drain_timeout
        self.emit(Withdraw(entry.model, entry.ticket, cause))

    def rescue(self, entry: Entry, *, used: bool) -> None:
        """Put a draining model back; its unload was not sent. Not ``used``: it is again the first to leave."""
        self.step(entry, Step.RESCUE)
        if used:
            self.order.used(entry.model, entry.priority)
        else:
            self.order.added_unused(entry.model, entry.priority)
        if entry.stale:
            self.stale[entry.model] = None
        self.emit(Publish(entry.model))

    def begin_unload(self, entry: Entry) -> None:
        self.step(entry, Step.BEGIN_UNLOAD)
        self.emit(Unload(entry.model))

    def unloaded(self, entry: Entry) -> None:
        self.step(entry, Step.UNLOADED)
        entry.evictions += 1
        entry.in_flight = 0
        self.emit(Evicted(entry.model, entry.cause))
        if entry.removed:
            self.forget(entry)
        elif self.waiting.waiting_for(entry.model):
            self.pending[entry.model] = None
        elif entry.cause is Cause.UPDATED:
            self.warm[entry.model] = None

    def forget(self, entry: Entry) -> None:
        for queue in (self.pending, self.warm, self.stale, self.retries):
            queue.pop(entry.model, None)
        del self.entries[entry.model]
        self.emit(Forgotten(entry.model))

    def touch(self, entry: Entry, now: float) -> None:
        """A request uses the model now: youngest in the order, and busy until the meters can see it."""
        entry.last_used = now
        entry.busy_until = now + self.limits.min_residency
        if entry.state in SERVING:
            self.order.used(entry.model, entry.priority)

    def grant_all(self, entry: Entry, now: float) -> None:
        requests = self.waiting.release(entry.model)
        if requests:
            self.touch(entry, now)
        for request in requests:
            self.emit(Grant(request))

    def reject_all(self, entry: Entry, refusal: Refusal, reason: str, retry_after: float) -> None:
        self.pending.pop(entry.model, None)
        for request in self.waiting.release(entry.model):
            self.emit(Reject(request, refusal, reason, retry_after))

    def reject(self, request: RequestId, refusal: Refusal, reason: str, after: float = 0.0) -> None:
        self.emit(Reject(request, refusal, reason, after))

    def left(self, model: ModelName) -> None:
        """A waiter of the model is gone; with the last one the wish is gone too (law 6)."""
        if not self.waiting.waiting_for(model):
            self.pending.pop(model, None)

    def residents(self) -> Iterator[Entry]:
        """In eviction order, first to leave first."""
        return (self.entries[model] for model in self.order.order())
