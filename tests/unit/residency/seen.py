"""What `mirror` believes of one model, of its content that was loaded last, and of a request. It checks no law."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from overbook.residency.effects import Cause
from overbook.residency.events import ModelName, Register, RequestId, Ticket
from overbook.residency.replica import Limits
from overbook.residency.states import State

LEAVING = (State.DRAINING, State.UNLOADING)


@dataclass
class LoadedLast:
    """The content that was loaded last: it stands in for a newer one that cannot be loaded."""

    generation: int
    size: int
    peak: int
    failures: int = 0
    retry_at: float = -math.inf
    reason: str = ""
    made_way: bool = False  # it left for one try of the newest

    def failed(self, reason: str, limits: Limits, now: float) -> None:
        self.failures, self.reason = self.failures + 1, reason
        self.retry_at = now + min(limits.retry_max, limits.retry_base * 2.0 ** (self.failures - 1))

    def held_back(self, reason: str, until: float) -> None:
        self.failures, self.reason, self.retry_at = self.failures + 1, reason, until

    def forgive(self) -> None:
        self.failures, self.retry_at, self.reason = 0, -math.inf, ""


@dataclass
class Seen:
    """One model as the onlooker knows it."""

    size: int
    generation: int
    pinned: bool
    priority: int
    keep_alive: float = 0.0
    reserve: int = 0
    peak: int = 0
    state: State = State.COLD
    charge: int = 0
    loaded: int = 0
    loaded_generation: int = 0
    loading: int = 0
    loading_peak: int = 0
    good: LoadedLast | None = None
    load_began: float = -math.inf
    seconds: float | None = None  # that its loads take; None: nobody said
    loading_generation: int = 0
    in_flight: int = 0
    last_used: float = -math.inf
    granted: set[RequestId] = field(default_factory=set)  # not passed on yet
    passed_at: float = -math.inf
    ticket: Ticket = field(default_factory=lambda: Ticket(0))
    cause: Cause = Cause.PRESSURE
    withdrawn_at: float = math.inf
    acknowledged: bool = False  # by all gateways
    settling: bool = False
    verifying: bool = False
    failures: int = 0
    lasting: int = 0  # in a row that lie in the content
    retry_at: float = -math.inf
    reason: str = ""
    barred: bool = False  # held back, whatever becomes known of its size
    removed: bool = False
    hot: bool = False  # gateways send requests straight to it
    registered: set[int] = field(default_factory=set)  # all generations so far
    deleted: set[int] = field(default_factory=set)  # those before its last deletion

    @classmethod
    def first(cls, event: Register, now: float) -> Seen:
        """Nothing was known of it before this."""
        seen = cls(event.size, event.generation, event.pinned, event.priority, event.keep_alive)
        seen.reserve, seen.peak, seen.seconds = event.reserve, event.peak, event.load_seconds
        seen.last_used = min(event.last_used, now)
        if event.proven:
            seen.good = LoadedLast(event.generation, event.size, event.peak)
        seen.applied(event.generation)
        return seen

    @property
    def momentary(self) -> int:
        """Bytes of its charge that come back when its load ends, whatever it keeps."""
        if self.state is State.LOADING:
            return self.charge - self.loading
        return self.charge - self.loading - self.loaded if self.state is State.RELOADING else 0

    def failed(self, reason: str, limits: Limits, now: float, *, passing: bool) -> None:
        """A load of the newest content failed."""
        self.failures, self.reason = self.failures + 1, reason
        self.lasting = 0 if passing else self.lasting + 1
        self.retry_at = now + min(limits.retry_max, limits.retry_base * 2.0 ** (self.failures - 1))
        if self.lasting > limits.retries:
            self.retry_at = math.inf

    def held_back(self, reason: str, until: float) -> None:
        self.failures, self.reason, self.retry_at = self.failures + 1, reason, until
        self.barred = True

    def applied(self, generation: int) -> None:
        """This content is registered; what was deleted under the name before stays deleted, unless it is the same."""
        if self.removed:
            self.deleted = set(self.registered)
        self.registered.add(generation)
        self.deleted.discard(generation)

    def forgive(self) -> None:
        self.failures, self.lasting, self.barred = 0, 0, False
        self.retry_at, self.reason = -math.inf, ""


@dataclass
class Waiter:
    """One request that waits; times in seconds."""

    model: ModelName
    deadline: float
    since: float
