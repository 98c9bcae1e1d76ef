"""One server replica in virtual time: the real core, and a server and a gateway that are nothing but delays.

As in the real thing, a request for a hot model never reaches the core: the gateway's meter reports it later, and a
server that counts says when it has ended, if somebody waits for that. Only what is not hot asks for activation.
Requests come at given times (`run`), or from clients of whom each waits for its answer before it asks again
(`run_closed`): only the latter slow down when the server does.
Deterministic: equal inputs give equal results, but for `core_seconds`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.effects import Effect
from overbook.residency.events import Event, ModelName, RequestId, Ticket
from overbook.residency.policy import EvictionOrder
from overbook.residency.questions import Questions
from overbook.residency.replica import Limits
from overbook.simulator.traces import Request

_GATEWAY: Final = "gateway"


@dataclass(frozen=True, slots=True)
class Delays:
    """How long things take, in seconds. A load takes ``load_base`` + bytes × ``load_per_byte``, give or take."""

    load_base: float = 0.015
    load_per_byte: float = 1 / (500 << 20)
    noise: float = 0.0  # sigma of the log-normal factor, of mean 1, on every load
    unload: float = 0.005
    withdraw: float = 0.01  # until every gateway took the hot route away
    passing: float = 0.001  # from a grant until its request is at the server and the core knows
    inference: float = 0.005
    report: float = 0.1  # between two reports of a gateway's meter
    count: float = math.inf  # for the server's word that a model is idle; inf: it does not count
    workers: int = (
        0  # loads that the server works on at once, the others in line; 0: however many are begun
    )
    patience: float = 30.0  # deadline of a request that waits


@dataclass(frozen=True, slots=True)
class Setting:
    """The replica that is simulated. ``budget`` in bytes; ``warm``: fill free room before anybody asks."""

    budget: int
    limits: Limits = field(default_factory=Limits)
    delays: Delays = field(default_factory=Delays)
    warm: bool = False
    seed: int = 1  # of the noise


@dataclass(slots=True)
class Result:
    """Counts over the whole trace; latencies in seconds beyond inference; ``core_seconds`` by the given timer."""

    requests: int = 0
    hits: int = 0
    bytes_asked: int = 0
    bytes_hit: int = 0
    loads: int = 0
    evictions: int = 0
    rejected: int = 0
    events: int = 0
    core_seconds: float = 0.0
    virtual_seconds: float = 0.0
    most_charged: int = 0
    added: list[float] = field(default_factory=list)  # of requests that had to wait
    latencies: list[float] = field(
        default_factory=list
    )  # of all requests of clients in a closed loop

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests if self.requests else 0.0

    @property
    def byte_hit_rate(self) -> float:
        return self.bytes_hit / self.bytes_asked if self.bytes_asked else 0.0

    @property
    def events_per_second(self) -> float:
        return self.events / self.core_seconds if self.core_seconds else math.inf

    def mean_added(self) -> float:
        """Over all requests; those that hit waited for nothing."""
        return sum(self.added) / self.requests if self.requests else 0.0

    def added_percentile(self, percent: float) -> float:
        """Over all requests."""
        rank = math.ceil(self.requests * percent / 100)  # of the requests in order, from 1
        hits = self.requests - len(self.added)
        return sorted(self.added)[rank - hits - 1] if rank > hits else 0.0


class Workers:
    """What a server does at once; the rest waits its turn. ``at(delay, action)`` has something happen later."""

    def __init__(self, number: int, at: Callable[[float, Callable[[], None]], None]) -> None:
        self._number = number
        self._at = at
        self._busy = 0
        self._line: deque[tuple[float, Callable[[], None]]] = deque()

    @property
    def idle(self) -> bool:
        return not self._number or self._busy < self._number

    def begin(self, seconds: float, action: Callable[[], None]) -> None:
        """Work for so many seconds, when a worker is free; then the action."""
        if self.idle:
            self._busy += 1
            self._at(seconds, partial(self._end, action))
        else:
            self._line.append((seconds, action))

    def _end(self, action: Callable[[], None]) -> None:
        self._busy -= 1
        if self._line:
            self.begin(*self._line.popleft())
        action()


@dataclass(slots=True)
class _Waiting:
    model: ModelName
    arrived: float


class Simulator:
    """Runs a trace once. ``timer`` measures the core's own time in seconds; it decides nothing."""

    def __init__(
        self,
        setting: Setting,
        sizes: Sequence[int],
        *,
        timer: Callable[[], float],
        order: EvictionOrder | None = None,
    ) -> None:
        self._setting = setting
        self._sizes = sizes
        self._timer = timer
        self._names = [ModelName(f"m{place}") for place in range(len(sizes))]
        self._index = {name: place for place, name in enumerate(self._names)}
        self._core = Core(budget=setting.budget, limits=setting.limits, order=order)
        self._chance = random.Random(f"loads {setting.seed}")
        self._now = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._tick_due = math.inf
        self._hot: set[ModelName] = set()
        self._in_flight: dict[ModelName, int] = {}
        self._metered: dict[ModelName, float] = {}  # used since the last report, and when
        self._withdrawing: dict[ModelName, Ticket] = {}
        self._settling: dict[ModelName, Ticket] = {}
        self._passed: dict[ModelName, int] = {}
        self._questions = Questions(lambda model: {_GATEWAY: self._passed.get(model, 0)})
        self._asked_about: set[ModelName] = set()  # by questions that were not answered yet
        self._waiting: dict[RequestId, _Waiting] = {}
        self._workers = Workers(setting.delays.workers, self._at)
        self._asked: Iterator[int] | None = None  # by clients in a closed loop
        self._on_their_way = 0  # granted, not at the server yet
        self.result = Result()

    def run(self, trace: Iterable[Request]) -> Iterator[int]:
        """Replays the trace; yields the number of requests begun, for progress. Ends when all is quiet."""
        self._start()
        for request in trace:
            self._advance(request.time)
            self._arrive(request.model)
            yield self.result.requests
        self._finish()

    def run_closed(self, asked: Iterable[int], *, clients: int) -> None:
        """Clients ask for one model after the other, in this order; each waits for its answer before it asks again."""
        self._start()
        self._asked = iter(asked)
        for _ in range(clients):
            self._ask()
        self._finish()

    def _start(self) -> None:
        self._feed(ev.ServerUp())
        for place, name in enumerate(self._names):
            self._feed(ev.Register(name, self._sizes[place], 1, warm=self._setting.warm))
        self._at(self._setting.delays.report, self._report)

    def _finish(self) -> None:
        while self._waiting or self._on_their_way or self._in_flight:
            self._advance(self._agenda[0][0])
        self.result.virtual_seconds = self._now

    # -- time

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._agenda, (self._now + delay, self._serial, action))

    def _advance(self, until: float) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            self._now, _, action = heapq.heappop(self._agenda)
            action()
        self._now = max(self._now, until)

    def _tick(self) -> None:
        if self._now >= self._tick_due:
            self._tick_due = math.inf
            self._feed(ev.Tick())

    # -- the core

    def _feed(self, event: Event) -> None:
        began = self._timer()
        effects = self._core.handle(event, self._now)
        wake = self._core.next_wakeup()
        self.result.core_seconds += self._timer() - began
        self.result.events += 1
        self.result.most_charged = max(self.result.most_charged, self._core.ledger.total)
        for effect in effects:
            self._begin(effect)
        if wake < self._tick_due:
            self._tick_due = wake
            self._at(max(0.0, wake - self._now), self._tick)
        if self._setting.delays.count < math.inf:
            for question in self._questions.begin(self._core.awaited(self._now)):
                self._asked_about.add(question.model)
                self._say_idle(question.model)

    # -- the server says when a model is idle that somebody waits for

    def _say_idle(self, model: ModelName) -> None:
        if model in self._asked_about and model not in self._in_flight:
            self._asked_about.discard(model)
            self._at(self._setting.delays.count, partial(self._heard_idle, model))

    def _heard_idle(self, model: ModelName) -> None:
        holds = self._questions.answered(model)
        self._feed(ev.UsageSeen(model, 0, -math.inf) if holds else ev.Tick())

    def _begin(self, effect: Effect) -> None:
        delays = self._setting.delays
        match effect:
            case fx.Grant(request):
                self._granted(request)
            case fx.Reject(request):
                self._rejected(request)
            case fx.Load(model):
                self.result.loads += 1
                took = self._load_seconds(self._sizes[self._index[model]])
                self._workers.begin(took, partial(self._loaded, model, self._now))
            case fx.Unload(model):
                self._withdrawing.pop(model, None)
                self._settling.pop(model, None)
                self._at(delays.unload, partial(self._feed, ev.Unloaded(model)))
            case fx.Publish(model):
                self._hot.add(model)
                self._withdrawing.pop(model, None)
                self._settling.pop(model, None)
            case fx.Withdraw(model, ticket):
                self._hot.discard(model)
                self._withdrawing[model] = ticket
                self._at(delays.withdraw, partial(self._route_gone, model, ticket))
            case fx.Settle(model, ticket):
                self._settling[model] = ticket
                self._say_drained(model)
            case fx.Evicted():
                self.result.evictions += 1
            case _:
                pass  # nothing is verified or removed in a simulation

    def _loaded(self, model: ModelName, began: float) -> None:
        self._feed(ev.LoadSucceeded(model, seconds=self._now - began))

    def _load_seconds(self, size: int) -> float:
        delays = self._setting.delays
        took = delays.load_base + size * delays.load_per_byte
        if not delays.noise:
            return took
        return took * self._chance.lognormvariate(-(delays.noise**2) / 2, delays.noise)

    # -- requests

    def _arrive(self, place: int) -> None:
        result, model, size = self.result, self._names[place], self._sizes[place]
        result.requests += 1
        result.bytes_asked += size
        if model in self._hot:
            self._hit(size)
            self._infer(model, self._now)
            return
        request = RequestId(result.requests)
        self._waiting[request] = _Waiting(model, self._now)
        deadline = self._now + self._setting.delays.patience
        self._feed(ev.RequestArrived(request, model, deadline))

    def _hit(self, size: int) -> None:
        self.result.hits += 1
        self.result.bytes_hit += size

    def _granted(self, request: RequestId) -> None:
        waiting = self._waiting.pop(request)
        self._on_their_way += 1
        waited = self._now - waiting.arrived
        if waited > 0:
            self.result.added.append(waited)
        else:
            self._hit(self._sizes[self._index[waiting.model]])  # rescued while it drained
        self._at(self._setting.delays.passing, partial(self._pass_on, request, waiting))

    def _pass_on(self, request: RequestId, waited: _Waiting) -> None:
        self._on_their_way -= 1
        self._infer(waited.model, waited.arrived)
        self._passed[waited.model] = self._passed.get(waited.model, 0) + 1
        self._feed(ev.Passed(request))

    def _rejected(self, request: RequestId) -> None:
        waiting = self._waiting.pop(request)
        self.result.rejected += 1
        self.result.added.append(self._now - waiting.arrived)
        self._answered(waiting.arrived)

    def _infer(self, model: ModelName, arrived: float) -> None:
        self._in_flight[model] = self._in_flight.get(model, 0) + 1
        self._metered[model] = self._now
        self._at(self._setting.delays.inference, partial(self._inferred, model, arrived))

    def _inferred(self, model: ModelName, arrived: float) -> None:
        self._answered(arrived)
        self._in_flight[model] -= 1
        self._metered[model] = self._now
        if not self._in_flight[model]:
            del self._in_flight[model]
            self._say_drained(model)
            self._say_idle(model)

    def _answered(self, arrived: float) -> None:
        if self._asked is not None:
            self.result.latencies.append(self._now - arrived)
            self._at(0.0, self._ask)

    def _ask(self) -> None:
        place = next(self._asked, None) if self._asked is not None else None
        if place is not None:
            self._arrive(place)

    # -- the gateway

    def _report(self) -> None:
        metered, self._metered = self._metered, {}
        for model, last_active in metered.items():
            in_flight = self._in_flight.get(model, 0)
            if in_flight:
                self._questions.busy(model)
            self._feed(ev.UsageSeen(model, in_flight, last_active))
        self._at(self._setting.delays.report, self._report)

    def _route_gone(self, model: ModelName, ticket: Ticket) -> None:
        if self._withdrawing.get(model) == ticket:
            del self._withdrawing[model]
            self._feed(ev.Withdrawn(model, ticket))

    def _say_drained(self, model: ModelName) -> None:
        if model in self._settling and model not in self._in_flight:
            self._feed(ev.Drained(model, self._settling.pop(model)))
