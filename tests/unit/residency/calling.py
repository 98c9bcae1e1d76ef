"""A core with models that call others, an inference server that answers when it is let, and gateways that obey.

Looks at the laws of such models at every step; `mirror`, which looks at all the others, knows nothing of callers.
"""

from __future__ import annotations

from collections import deque

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.effects import Cause, Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.policy import LeastRecentlyUsed
from overbook.residency.replica import Limits
from overbook.residency.states import SERVING, State

NAMES = tuple(map(ModelName, "abcdef"))
A, B, C, D, E, F = NAMES
# Two share a callee, one has two, one calls a caller, one calls nobody and is called by nobody.
CALLS = {C: (A, B), D: (C,), E: (A,)}
Call = fx.Load | fx.Unload | fx.Verify


def below(model: ModelName) -> set[ModelName]:
    """All that it calls, also by way of others."""
    found: set[ModelName] = set()
    for each in CALLS.get(model, ()):
        found |= {each} | below(each)
    return found


class Calling:
    """``sizes``: bytes of a to f. ``causes``: why each left memory the last time."""

    def __init__(self, budget: int, sizes: tuple[int, ...], patience: float = 60.0) -> None:
        limits = Limits(headroom=0.0, patience=patience)
        self.core = Core(budget=budget, limits=limits, order=LeastRecentlyUsed())
        self.now = 100.0
        self.budget = budget
        self.sizes = dict(zip(NAMES, sizes, strict=True))
        self.generation = dict.fromkeys(NAMES, 1)
        self.calls: dict[ModelName, deque[Call]] = {}
        self.withdrawals: dict[ModelName, Ticket] = {}
        self.settling: dict[ModelName, Ticket] = {}
        self.waiting: dict[RequestId, ModelName] = {}
        self.granted: dict[RequestId, ModelName] = {}
        self.refused: dict[RequestId, tuple[Refusal, str]] = {}
        self.causes: dict[ModelName, Cause] = {}
        self.serial = 0
        self.say(ev.ServerUp())
        for name in NAMES:
            self.register(name)

    def register(
        self,
        name: ModelName,
        *,
        callees: tuple[ModelName, ...] | None = None,
        pinned: bool = False,
        warm: bool = False,
    ) -> None:
        self.say(
            ev.Register(
                name,
                self.sizes[name],
                self.generation[name],
                pinned=pinned,
                warm=warm,
                callees=CALLS.get(name, ()) if callees is None else callees,
            )
        )

    def say(self, event: ev.Event) -> None:
        if isinstance(event, ev.ServerDown):
            self.calls.clear()
            self.withdrawals.clear()
            self.settling.clear()
        for effect in self.core.handle(event, self.now):
            self._take(effect)

    def _take(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Load(model):
                serving = [self.core.entries[each].serves for each in self.core_callees(model)]
                assert all(serving), f"{model} is loaded before what it calls"
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Unload(model):
                self._forget_drain(model)
                for caller in NAMES:
                    if model in self.core_callees(caller) and not self.circle(caller):
                        assert caller not in self.core.ledger.charges, f"{caller} calls {model}"
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Verify(model):
                self.calls.setdefault(model, deque()).append(effect)
            case fx.Withdraw(model, ticket):
                self.withdrawals[model] = ticket
            case fx.Settle(model, ticket):
                self.settling[model] = ticket
            case fx.Publish(model):
                self._forget_drain(model)
            case fx.Grant(request):
                self.granted[request] = self.waiting.pop(request)
            case fx.Reject(request, refusal, reason):
                self.waiting.pop(request)
                self.refused[request] = refusal, reason
            case fx.Evicted(model, cause):
                self.causes[model] = cause
            case _:
                pass

    def core_callees(self, model: ModelName) -> tuple[ModelName, ...]:
        """As registered; a story may register others than `CALLS`."""
        return self.core._replica.calls.callees(model)

    def circle(self, model: ModelName) -> bool:
        """Whether it calls itself, by way of others."""
        return model in self.core._replica.calls.below(model)

    def _forget_drain(self, model: ModelName) -> None:
        self.withdrawals.pop(model, None)
        self.settling.pop(model, None)

    def entry(self, model: ModelName) -> Entry | None:
        return self.core.entries.get(model)

    def state(self, model: ModelName) -> State:
        return self.core.entries[model].state

    def ask(self, model: ModelName, *, deadline: float = 60.0, suspect: bool = False) -> RequestId:
        self.serial += 1
        request = RequestId(self.serial)
        self.waiting[request] = model
        self.say(ev.RequestArrived(request, model, self.now + deadline, suspect))
        return request

    def pass_on(self, request: RequestId) -> None:
        del self.granted[request]
        self.say(ev.Passed(request))

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

    def withdrawn(self, model: ModelName) -> None:
        self.say(ev.Withdrawn(model, self.withdrawals.pop(model)))

    def drained(self, model: ModelName) -> None:
        ticket = self.settling.pop(model)
        entry = self.entry(model)
        if entry is not None and not entry.granted:
            self.say(ev.Drained(model, ticket))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.say(ev.Tick())

    def restart(self) -> None:
        self.say(ev.ServerDown())
        self.granted.clear()
        self.say(ev.ServerUp())

    def resident(self, *models: ModelName) -> None:
        """Each was asked for in turn, and is idle now."""
        for model in models:
            self.ask(model)
            self.rest()
            assert self.state(model) is State.RESIDENT, model

    def rest(self) -> None:
        """Everybody does what they were asked to, and requests end."""
        for _ in range(200):
            for request in tuple(self.granted):
                self.pass_on(request)
            for name in NAMES:
                entry = self.entry(name)
                if entry is not None and entry.in_flight:
                    self.say(ev.UsageSeen(name, 0, -float("inf")))
            for model in [name for name, calls in self.calls.items() if calls]:
                self.end_work(model)
            for model in tuple(self.withdrawals):
                if model in self.withdrawals:
                    self.withdrawn(model)
            for model in tuple(self.settling):
                if model in self.settling:
                    self.drained(model)
            self.tick(0.2)
            self.check()
            working = any(self.calls.values())
            if not (working or self.withdrawals or self.settling or self.granted):
                return
        raise AssertionError("it never comes to rest")

    def check(self) -> None:
        """The laws, as they can be seen at any moment."""
        for caller in NAMES:
            entry, callees = self.entry(caller), self.core_callees(caller)
            if entry is None:
                continue
            for each in callees:
                callee = self.entry(each)
                if entry.state is State.RESIDENT:
                    assert callee is not None, f"{caller} without {each}"
                    assert callee.state in SERVING, f"{caller} without {each}: {callee.state}"
                elif entry.state in (State.DRAINING, State.UNLOADING) and not self.circle(caller):
                    assert callee is None or callee.state is not State.UNLOADING
        assert self.core.ledger.total <= self.budget
