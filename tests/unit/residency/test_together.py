"""Laws of models that call others, whatever happens in whatever order; and that nobody waits for ever."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.effects import Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.replica import Limits
from overbook.residency.states import SERVING, State

NAMES = tuple(map(ModelName, "abcdef"))
A, B, C, D, E, F = NAMES
# Two share a callee, one has two, one calls a caller, one calls nobody and is called by nobody.
CALLS = {C: (A, B), D: (C,), E: (A,)}
LEANING = (State.LOADING, State.RELOADING, State.RESIDENT)
Call = fx.Load | fx.Unload | fx.Verify


def below(model: ModelName) -> set[ModelName]:
    found: set[ModelName] = set()
    for each in CALLS.get(model, ()):
        found |= {each} | below(each)
    return found


class Together(RuleBasedStateMachine):
    """One core, an inference server that answers when it is let, and gateways that obey."""

    names = st.sampled_from(NAMES)
    picks = st.integers(0, 100)

    @initialize(
        budget=st.integers(4, 9),
        sizes=st.tuples(*[st.integers(0, 3)] * len(NAMES)),
        patience=st.sampled_from([0.5, 2.0]),
    )
    def begin(self, budget: int, sizes: tuple[int, ...], patience: float) -> None:
        self.core = Core(budget=budget, limits=Limits(headroom=0.0, patience=patience))
        self.now = 100.0
        self.budget = budget
        self.sizes = dict(zip(NAMES, sizes, strict=True))
        self.generation = dict.fromkeys(NAMES, 1)
        self.calls: dict[ModelName, deque[Call]] = {}
        self.withdrawals: dict[ModelName, Ticket] = {}
        self.settling: dict[ModelName, Ticket] = {}
        self.waiting: dict[RequestId, ModelName] = {}
        self.granted: dict[RequestId, ModelName] = {}
        self.refused: dict[RequestId, Refusal] = {}
        self.serial = 0
        self.say(ev.ServerUp())
        for name in NAMES:
            self.register(name)

    def register(self, name: ModelName) -> None:
        self.say(
            ev.Register(
                name,
                self.sizes[name],
                self.generation[name],
                warm=False,
                callees=CALLS.get(name, ()),
            )
        )

    def say(self, event: ev.Event) -> None:
        if isinstance(event, ev.ServerDown):
            self.calls.clear()
            self.withdrawals.clear()
            self.settling.clear()
        for effect in self.core.handle(event, self.now):
            self.take(effect)

    def take(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Load(model):
                serving = [self.core.entries[each].serves for each in CALLS.get(model, ())]
                assert all(serving), f"{model} is loaded before what it calls"
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Unload(model):
                self.forget_drain(model)
                for caller in NAMES:
                    if model in CALLS.get(caller, ()):
                        assert caller not in self.core.ledger.charges, f"{caller} calls {model}"
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Verify(model):
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Withdraw(model, ticket):
                self.withdrawals[model] = ticket
            case fx.Settle(model, ticket):
                self.settling[model] = ticket
            case fx.Publish(model):
                self.forget_drain(model)
            case fx.Grant(request):
                self.granted[request] = self.waiting.pop(request)
            case fx.Reject(request, refusal):
                self.waiting.pop(request)
                self.refused[request] = refusal
            case _:
                pass

    def forget_drain(self, model: ModelName) -> None:
        self.withdrawals.pop(model, None)
        self.settling.pop(model, None)

    def entry(self, model: ModelName) -> Entry | None:
        return self.core.entries.get(model)

    # -- what happens

    @rule(model=names, patience=st.sampled_from([1.0, 60.0]), suspect=st.booleans())
    def ask(self, model: ModelName, patience: float, suspect: bool) -> None:
        self.serial += 1
        request = RequestId(self.serial)
        self.waiting[request] = model
        self.say(ev.RequestArrived(request, model, self.now + patience, suspect))

    @rule(pick=picks)
    def is_passed(self, pick: int) -> None:
        if self.granted:
            request = sorted(self.granted)[pick % len(self.granted)]
            del self.granted[request]
            self.say(ev.Passed(request))

    @rule(model=names, in_flight=st.integers(0, 2))
    def usage(self, model: ModelName, in_flight: int) -> None:
        self.say(ev.UsageSeen(model, in_flight, self.now))

    @rule(pick=picks, fail=st.booleans())
    def work_ends(self, pick: int, fail: bool) -> None:
        busy = sorted(model for model, calls in self.calls.items() if calls)
        if busy:
            self.end_work(busy[pick % len(busy)], fail=fail)

    def end_work(self, model: ModelName, *, fail: bool = False) -> None:
        call = self.calls[model].popleft()
        match call:
            case fx.Load() if fail:
                self.say(ev.LoadFailed(model, "no", passing=True))
            case fx.Load():
                self.say(ev.LoadSucceeded(model, self.sizes[model], 0.1))
            case fx.Unload():
                self.say(ev.Unloaded(model))
            case fx.Verify():
                entry = self.entry(model)
                if entry is not None and entry.verifying:
                    self.say(ev.Verified(model, not fail))

    @rule(pick=picks)
    def gateways_withdraw(self, pick: int) -> None:
        if self.withdrawals:
            model = sorted(self.withdrawals)[pick % len(self.withdrawals)]
            self.say(ev.Withdrawn(model, self.withdrawals.pop(model)))

    @rule(pick=picks)
    def is_drained(self, pick: int) -> None:
        if self.settling:
            model = sorted(self.settling)[pick % len(self.settling)]
            self.drained(model)

    def drained(self, model: ModelName) -> None:
        ticket = self.settling.pop(model)
        entry = self.entry(model)
        if entry is not None and not entry.granted:
            self.say(ev.Drained(model, ticket))

    @rule(model=names)
    def evict(self, model: ModelName) -> None:
        if self.entry(model) is not None:
            self.say(ev.EvictRequested(model))

    @rule(model=names)
    def remove(self, model: ModelName) -> None:
        entry = self.entry(model)
        if entry is not None and not entry.removed:
            self.say(ev.Remove(model))

    @rule(model=names, more=st.integers(0, 1))
    def apply(self, model: ModelName, more: int) -> None:
        self.generation[model] += more
        self.register(model)

    @rule(seconds=st.sampled_from([0.05, 1.0, 3.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.say(ev.Tick())

    @rule()
    def server_dies(self) -> None:
        self.say(ev.ServerDown())
        self.granted.clear()
        self.say(ev.ServerUp())

    # -- the laws

    @invariant()
    def what_is_called_is_there(self) -> None:
        for caller, callees in CALLS.items():
            entry = self.entry(caller)
            if entry is None or entry.state is not State.RESIDENT:
                continue
            for each in callees:
                callee = self.entry(each)
                assert callee is not None, f"{caller} without {each}"
                assert callee.state in SERVING, f"{caller} without {each}: {callee.state}"

    @invariant()
    def what_is_called_is_unloaded_last(self) -> None:
        for caller, callees in CALLS.items():
            entry = self.entry(caller)
            if entry is not None and entry.state in (State.DRAINING, State.UNLOADING):
                for each in callees:
                    callee = self.entry(each)
                    assert callee is None or callee.state is not State.UNLOADING

    @invariant()
    def charges_stay_within_the_budget(self) -> None:
        assert self.core.ledger.total <= self.budget

    def teardown(self) -> None:
        """Whoever asks in the end is answered by yes where it fits with all that it calls, else by no."""
        if not hasattr(self, "core"):
            return
        for name in NAMES:
            self.rest()
            self.generation[name] += 1
            self.register(name)
        for _ in range(3):
            self.rest()
            self.now += 1000.0
            self.say(ev.Tick())
        for name in (*NAMES, *reversed(NAMES)):
            self.rest()
            self.serial += 1
            request = RequestId(self.serial)
            self.waiting[request] = name
            self.say(ev.RequestArrived(request, name, self.now + 60.0, False))
            self.rest()
            needed = sum(self.sizes[each] for each in {name} | below(name))
            if needed <= self.budget:
                assert request not in self.waiting, f"{name} waits for ever"
                assert request not in self.refused, f"{name}: {self.refused[request]}"
            else:
                assert self.refused.get(request) is Refusal.NO_ROOM, f"{name} can never be loaded"

    def rest(self) -> None:
        """Everybody does what they were asked to, and requests end."""
        for _ in range(200):
            for request in tuple(self.granted):
                del self.granted[request]
                self.say(ev.Passed(request))
            for name in NAMES:
                entry = self.entry(name)
                if entry is not None and entry.in_flight:
                    self.say(ev.UsageSeen(name, 0, -float("inf")))
            busy = [model for model, calls in self.calls.items() if calls]
            for model in busy:
                self.end_work(model)
            for model in tuple(self.withdrawals):
                if model in self.withdrawals:
                    self.say(ev.Withdrawn(model, self.withdrawals.pop(model)))
            for model in tuple(self.settling):
                if model in self.settling:
                    self.drained(model)
            self.now += 0.2
            self.say(ev.Tick())
            working = any(self.calls.values())
            if not (working or self.withdrawals or self.settling or self.granted):
                return
        raise AssertionError("it never comes to rest")


TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
