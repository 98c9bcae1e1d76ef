"""A core, its agent, some gateways, the wire between them and the inference server, as pure values.

Written from the contract of the wire, to see whether what was granted reaches its model (law 9): calls, answers and
requests travel as long as they like and overtake each other; only what goes over one stream keeps its order.
What the real agent and gateway do beside this (timeouts, retries, routes) is left out.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.events import Event, ModelName, RequestId, Ticket
from overbook.residency.questions import Question, Questions
from overbook.residency.replica import Limits


@dataclass(frozen=True)
class Call:
    """A gateway's question for a model. ``number`` is never used twice."""

    gateway: int
    number: int
    model: ModelName


@dataclass(frozen=True)
class Told:
    """From gateway to agent over the stream: calls that are passed, or a withdrawal that is done.

    ``granted``: requests that the gateway has let through to the model since the server of ``epoch`` began.
    """

    model: ModelName
    granted: int
    epoch: int
    calls: tuple[int, ...] = ()
    ticket: Ticket | None = None


@dataclass(frozen=True)
class Order:
    """From agent to gateway over the stream: the server is new, or the model is hot, or it is to be withdrawn."""

    epoch: int
    model: ModelName | None = None
    ticket: Ticket | None = None


@dataclass(eq=False)
class Travelling:
    """A request between gateway and server. ``excused``: server or drain deadline took its model away."""

    gateway: int
    model: ModelName
    excused: bool = False
    metered: bool = False  # a meter saw it at the server


@dataclass
class Gateway:
    name: int
    epoch: int
    hot: set[ModelName]
    waiting: dict[int, Call] = field(default_factory=dict)
    granted: Counter[ModelName] = field(default_factory=Counter)
    orders: deque[Order] = field(default_factory=deque)
    news: deque[Told] = field(default_factory=deque)

    def tell(
        self, model: ModelName, *, calls: tuple[int, ...] = (), ticket: Ticket | None = None
    ) -> None:
        self.news.append(Told(model, self.granted[model], self.epoch, calls, ticket))


class Reach:
    """Everything, and one method for each thing that can happen. AssertionError when law 9 is broken."""

    def __init__(self, budget: int, limits: Limits, gateways: int) -> None:
        self.core = Core(budget=budget, limits=limits)
        self.limits = limits
        self.now = 100.0
        self.epoch = 0
        # the server
        self.loaded: set[ModelName] = set()
        self.in_flight: list[Travelling] = []
        self.seen: Counter[tuple[int, ModelName]] = Counter()
        self.work: list[fx.Effect] = []
        # the wire
        self.calls: list[Call] = []
        self.cancels: list[Call] = []
        self.answers: list[tuple[Call, bool]] = []
        self.travelling: list[Travelling] = []
        # the agent
        self.hot: set[ModelName] = set()
        self.requests: dict[RequestId, Call] = {}
        self.by_call: dict[tuple[int, int], RequestId] = {}
        self.awaited: dict[ModelName, tuple[Ticket, set[int]]] = {}
        self.settling: dict[ModelName, Ticket] = {}
        self.tickets: dict[ModelName, Ticket] = {}  # of the newest withdrawals
        self.passed: Counter[tuple[int, ModelName]] = Counter()
        self.questions = Questions(self._passed_on)
        self.asked: list[Question] = []  # on their way to the server, or waiting there
        self.idle: list[ModelName] = []  # answers on their way back
        # the gateways
        self.gateways: dict[int, Gateway] = {}
        self.serial = 0
        self.expired = 0
        # Did not withdraw before the deadline: of which drain.
        self.late: dict[tuple[int, ModelName], Ticket] = {}
        self.excused: set[Call] = set()  # granted, but server or drain deadline took the model away
        for _ in range(gateways):
            self.gateway_comes()
        self.say(ev.ServerUp())

    # -- the agent

    def say(self, event: Event) -> None:
        inbox = deque([event])
        while inbox:
            event = inbox.popleft()
            for effect in self.core.handle(event, self.now):
                inbox.extend(self._perform(effect, event))
        for model in tuple(self.settling):
            self._look_at(model)
        self.asked += self.questions.begin(self.core.awaited(self.now))

    def _passed_on(self, model: ModelName) -> dict[str, int]:
        """As the agent has it: of the gateways that are there, what was heard of them."""
        return {
            str(gateway): count
            for (gateway, name), count in self.passed.items()
            if name == model and gateway in self.gateways
        }

    def _perform(self, effect: fx.Effect, event: Event) -> list[Event]:
        match effect:
            case fx.Grant(request):
                self.answers.append((self.requests[request], True))
            case fx.Reject(request):
                self._end(request)
            case fx.Publish(model):
                self.hot.add(model)
                self._undo(model)
                self._order(model, None)
            case fx.Withdraw(model, ticket):
                self.tickets[model] = ticket
                self.hot.discard(model)
                self.awaited[model] = (ticket, set(self.gateways))
                self._order(model, ticket)
                return self._withdrawn_by(model, None)
            case fx.Settle(model, ticket):
                self.settling[model] = ticket
            case fx.Unload(model):
                self._undo(model)
                if not isinstance(event, ev.Drained) or event.model != model:
                    self.expired += 1
                    self._excuse(model)
                self.loaded.discard(model)
                self.work.append(effect)
            case fx.Load() | fx.Verify():
                self.work.append(effect)
            case _:
                pass
        return []

    def _undo(self, model: ModelName) -> None:
        self.awaited.pop(model, None)
        self.settling.pop(model, None)

    def _end(self, request: RequestId) -> None:
        call = self.requests.pop(request)
        del self.by_call[call.gateway, call.number]
        self.answers.append((call, False))

    def _order(self, model: ModelName, ticket: Ticket | None) -> None:
        for gateway in self.gateways.values():
            gateway.orders.append(Order(self.epoch, model, ticket))

    def _withdrawn_by(self, model: ModelName, gateway: int | None) -> list[Event]:
        if model not in self.awaited:
            return []  # what was said of another meanwhile ended it
        ticket, missing = self.awaited[model]
        missing.discard(gateway if gateway is not None else -1)
        if missing:
            return []
        del self.awaited[model]
        return [ev.Withdrawn(model, ticket)]

    def _look_at(self, model: ModelName) -> None:
        """The end of `Settle`: the server saw all that was passed on, and nothing is in flight."""
        # What was said of another meanwhile may have ended it.
        if model in self.settling and self._is_idle(model, self._passed_on(model)):
            self.say(ev.Drained(model, self.settling.pop(model)))

    def _is_idle(self, model: ModelName, passed: Mapping[str, int]) -> bool:
        arrived = all(self.seen[int(gateway), model] >= count for gateway, count in passed.items())
        return arrived and not any(each.model == model for each in self.in_flight)

    def question_is_answered(self, question: Question) -> bool:
        """The server answers when nothing is in flight, and not before."""
        if not self._is_idle(question.model, question.passed):
            return False
        self.asked.remove(question)
        self.idle.append(question.model)
        return True

    def question_runs_out(self, question: Question) -> None:
        """The server could not say so in time."""
        self.asked.remove(question)
        self.questions.answered(question.model)
        self.say(ev.Tick())

    def idle_arrives(self, model: ModelName) -> None:
        """Law 3: whatever the agent has heard of by then has come to the server, and ended there."""
        self.idle.remove(model)
        if not self.questions.answered(model):
            self.say(ev.Tick())
            return
        under_way = Counter(
            each.gateway for each in (*self.travelling, *self.in_flight) if each.model == model
        )
        for name, count in under_way.items():
            heard = self.passed[name, model]
            unheard = self.gateways[name].granted[model] - heard if name in self.gateways else count
            assert count <= unheard, f"'{model}' is said to be idle, and known to be in use"
        assert not any(each.metered for each in self.in_flight if each.model == model)
        self.say(ev.UsageSeen(model, 0, -math.inf))

    def _excuse(self, model: ModelName) -> None:
        for each in self.travelling:
            if each.model == model:
                each.excused = True
        for call, granted in self.answers:
            if granted and call.model == model:
                self.excused.add(call)
        ticket = self.tickets[model]
        for gateway in self.gateways.values():
            # It may not even have heard that the model was hot.
            if any(order.ticket == ticket for order in gateway.orders):
                self.late[gateway.name, model] = ticket

    def news_arrive(self, gateway: Gateway) -> None:
        told = gateway.news.popleft()
        if told.epoch == self.epoch:
            self.passed[gateway.name, told.model] = told.granted
        for number in told.calls:
            self._call_passed((gateway.name, number))
        awaited = self.awaited.get(told.model)
        if told.ticket is not None and awaited is not None and awaited[0] == told.ticket:
            for event in self._withdrawn_by(told.model, gateway.name):
                self.say(event)
        for model in tuple(self.settling):
            self._look_at(model)

    def _call_passed(self, key: tuple[int, int]) -> None:
        request = self.by_call.get(key)
        if request is None:
            return  # it ended, or has not come yet: then its cancelling is on the way too
        self._forget(request)
        # A caller that left tells so twice, and this may be the first that is heard of it.
        waits = request in self.core._replica.waiting
        self.say(ev.RequestLeft(request) if waits else ev.Passed(request))

    def _forget(self, request: RequestId) -> None:
        call = self.requests.pop(request)
        del self.by_call[call.gateway, call.number]

    def call_arrives(self, call: Call) -> None:
        self.calls.remove(call)
        if call.gateway not in self.gateways:
            return
        self.serial += 1
        request = RequestId(self.serial)
        self.requests[request], self.by_call[call.gateway, call.number] = call, request
        self.say(ev.RequestArrived(request, call.model, math.inf))

    def cancel_arrives(self, call: Call) -> None:
        """Never before the call itself: they go over one connection."""
        self.cancels.remove(call)
        if call in self.calls:
            self.calls.remove(call)
        request = self.by_call.get((call.gateway, call.number))
        if request is not None:
            self._forget(request)
            self.say(ev.RequestLeft(request))

    # -- the gateways

    def ask(self, gateway: Gateway, model: ModelName) -> None:
        if model in gateway.hot:
            self._let_through(gateway, model, excused=(gateway.name, model) in self.late)
            gateway.tell(model)
            return
        self.serial += 1
        call = Call(gateway.name, self.serial, model)
        gateway.waiting[call.number] = call
        self.calls.append(call)

    def _let_through(self, gateway: Gateway, model: ModelName, *, excused: bool = False) -> None:
        gateway.granted[model] += 1
        if gateway.epoch == self.epoch:  # else it goes to the address of a server that is dead
            self.travelling.append(Travelling(gateway.name, model, excused))

    def answer_arrives(self, call: Call, granted: bool, *, left: bool = False) -> None:
        self.answers.remove((call, granted))
        gateway = self.gateways.get(call.gateway)
        if gateway is None or gateway.waiting.pop(call.number, None) is None or not granted:
            return
        if not left:
            self._let_through(gateway, call.model, excused=call in self.excused)
        gateway.tell(call.model, calls=(call.number,))

    def caller_leaves(self, gateway: Gateway, call: Call) -> None:
        del gateway.waiting[call.number]
        self.cancels.append(call)
        gateway.tell(call.model, calls=(call.number,))

    def order_arrives(self, gateway: Gateway) -> None:
        order = gateway.orders.popleft()
        if order.model is not None and self.late.get((gateway.name, order.model)) == order.ticket:
            self.late.pop((gateway.name, order.model), None)
        if order.model is None:
            gateway.epoch = order.epoch
            gateway.hot.clear()
            gateway.granted.clear()
        elif order.ticket is None:
            gateway.hot.add(order.model)
        else:
            gateway.hot.discard(order.model)
            gateway.tell(order.model, ticket=order.ticket)

    def gateway_goes(self, gateway: Gateway) -> None:
        """It takes its requests with it; the agent sees the end of its stream."""
        del self.gateways[gateway.name]
        self.travelling = [each for each in self.travelling if each.gateway != gateway.name]
        for request, call in tuple(self.requests.items()):
            if call.gateway == gateway.name:
                self._forget(request)
                self.say(ev.RequestLeft(request))
        for model in tuple(self.awaited):
            for event in self._withdrawn_by(model, gateway.name):
                self.say(event)
        for model in tuple(self.settling):
            self._look_at(model)

    def gateway_comes(self) -> None:
        self.serial += 1
        self.gateways[self.serial] = Gateway(self.serial, self.epoch, set(self.hot))

    # -- the server

    def request_arrives(self, request: Travelling) -> None:
        self.travelling.remove(request)
        self.seen[request.gateway, request.model] += 1
        if request.model in self.loaded:
            self.in_flight.append(request)
        else:
            assert request.excused, f"law 9: granted, but '{request.model}' left before it came"
        for model in tuple(self.settling):
            self._look_at(model)

    def request_ends(self, request: Travelling) -> None:
        self.in_flight.remove(request)
        for model in tuple(self.settling):
            self._look_at(model)

    def work_ends(self, effect: fx.Effect, *, fail: bool = False) -> None:
        self.work.remove(effect)
        match effect:
            case fx.Load(model) if fail:
                self.say(ev.LoadFailed(model, "no"))
            case fx.Load(model):
                self.loaded.add(model)
                self.say(ev.LoadSucceeded(model))
            case fx.Unload(model):
                self.say(ev.Unloaded(model))
            case fx.Verify(model):
                self.say(ev.Verified(model, model in self.loaded))

    def server_dies(self) -> None:
        self.epoch += 1
        self.excused.update(call for call, granted in self.answers if granted)
        self.travelling.clear()
        self.loaded.clear()
        self.in_flight.clear()
        self.work.clear()
        self.hot.clear()
        self.awaited.clear()
        self.settling.clear()
        self.seen.clear()
        self.passed.clear()
        self.questions.void()
        self.asked.clear()
        self.idle.clear()
        for gateway in self.gateways.values():
            gateway.orders.append(Order(self.epoch))
        self.say(ev.ServerDown())
        self.say(ev.ServerUp())

    def usage(self, model: ModelName) -> None:
        """The meters see what is in flight at the server, and nothing of what is on its way."""
        here = [each for each in self.in_flight if each.model == model]
        for each in here:
            each.metered = True
        count = len(here)
        if count:
            self.questions.busy(model)
        self.say(ev.UsageSeen(model, count, self.now if count else -math.inf))

    # -- all together

    def finish(self) -> None:
        """Everything that travels arrives, everything that runs ends: then nobody waits, and no drain had to expire."""
        before = self.expired
        for _ in range(3000):
            if not self._next():
                break
        else:
            raise AssertionError("livelock")
        assert not self.requests, f"law 8: {self.requests} never ended"
        assert not self.settling
        assert not self.awaited
        assert not self.asked
        assert self.expired == before, "a drain had to expire, though everything arrived"

    def _next(self) -> bool:
        for gateway in self.gateways.values():
            if gateway.orders:
                self.order_arrives(gateway)
                return True
            if gateway.news:
                self.news_arrive(gateway)
                return True
        if self.cancels:
            self.cancel_arrives(self.cancels[0])
        elif self.calls:
            self.call_arrives(self.calls[0])
        elif self.answers:
            self.answer_arrives(*self.answers[0])
        elif self.travelling:
            self.request_arrives(self.travelling[0])
        elif self.in_flight:
            self.request_ends(self.in_flight[0])
        elif self.work:
            self.work_ends(self.work[0])
        elif self.idle:
            self.idle_arrives(self.idle[0])
        elif any(self.question_is_answered(each) for each in tuple(self.asked)):
            pass
        elif used := [e.model for e in self.core.entries.values() if e.in_flight]:
            self.usage(used[0])
        elif self.asked:
            self.question_runs_out(self.asked[0])  # what it waits for left with its gateway
        elif self.requests and self.core.next_wakeup() < math.inf:
            self.now = max(self.now, self.core.next_wakeup())
            self.say(ev.Tick())
        else:
            return False
        return True
