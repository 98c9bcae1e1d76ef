"""What is known of one assigned model on one server replica. Only `replica` and the handlers of events change it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.good import Good
from overbook.residency.shelf import Heat
from overbook.residency.states import SERVING, State
from overbook.residency.under_way import Drain, Loading


@dataclass(slots=True)
class Entry:
    """Times on the caller's clock; ``last_used`` is -inf when never used.

    ``loading`` is there while it is LOADING or RELOADING, ``drain`` while it is DRAINING, ``unloading`` (why) while it
    is UNLOADING, and at no other time: `ReplicaState.step` writes them together with the state.
    """

    model: ModelName
    size: int
    generation: int
    pinned: bool
    priority: int
    keep_alive: float = 0.0
    sequence_idle: float = 0.0
    load_seconds: float | None = None
    reserve: int = 0  # bytes to charge while it loads, when they are more than its size
    peak: int = 0  # bytes that it takes for a moment while it loads
    state: State = State.COLD
    loading: Loading | None = None
    drain: Drain | None = None
    unloading: Cause | None = None
    left_for: ModelName | None = None  # whose load it was last told to make room for, for people
    loaded_generation: int = 0
    loaded_size: int = 0
    good: Good | None = None  # what was loaded last, and may serve; see `Good`
    in_flight: int = 0
    last_used: float = -math.inf
    wanted_since: float = math.inf  # when the wish that is still open began; inf: nobody waits
    granted: int = 0  # requests granted and not passed on yet
    unseen_until: float = -math.inf  # before that no meter may have seen the last one passed on
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

    def in_sequence(self, now: float) -> bool:
        """Whether a sequence of requests may go on, which would be lost with it (law 3)."""
        return now < self.last_used + self.sequence_idle

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

    @property
    def drain_deadline(self) -> float:
        """When it is unloaded whatever is in flight, in seconds; inf when it does not drain."""
        return math.inf if self.drain is None else self.drain.deadline

    @property
    def load_began(self) -> float:
        """In seconds; -inf when none is under way."""
        return -math.inf if self.loading is None else self.loading.began

    @property
    def loading_extra(self) -> int:
        """Bytes charged beyond its size that come back with the end of its load."""
        return 0 if self.loading is None else self.loading.extra

    @property
    def overdraft(self) -> int:
        """Bytes that its load takes for a moment beyond what was free when it began."""
        return 0 if self.loading is None else self.loading.overdraft
