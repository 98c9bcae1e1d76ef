"""Law 9 over core, wire and gateways together: no granted request comes to a server that lacks the model.

Unless that server died since, or the deadline of a drain was over. `reach` holds the world; here is what may happen.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from overbook.residency import events as ev
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.reach import Gateway, Reach

MODELS = [ModelName(name) for name in "abcd"]
LIMITS = Limits(drain_timeout=30.0, patience=2.0)

models = st.sampled_from(MODELS)
picks = st.integers(0, 1000)


class Journey(RuleBasedStateMachine):
    here: Reach

    @initialize(
        budget=st.integers(3, 9),
        sizes=st.lists(st.integers(1, 3), min_size=4, max_size=4),
        gateways=st.integers(1, 3),
    )
    def begin(self, budget: int, sizes: list[int], gateways: int) -> None:
        self.here = Reach(budget, LIMITS, gateways)
        for model, size in zip(MODELS, sizes, strict=True):
            self.here.say(ev.Register(model, size, 1, warm=False))

    def gateway(self, pick: int) -> Gateway:
        known = list(self.here.gateways.values())
        return known[pick % len(known)]

    # -- clients

    @rule(pick=picks, model=models, count=st.integers(1, 3))
    def ask(self, pick: int, model: ModelName, count: int) -> None:
        for _ in range(count):
            self.here.ask(self.gateway(pick), model)

    @rule(pick=picks)
    def caller_leaves(self, pick: int) -> None:
        gateway = self.gateway(pick)
        if gateway.waiting:
            calls = list(gateway.waiting.values())
            self.here.caller_leaves(gateway, calls[pick % len(calls)])

    # -- the wire

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.calls))
    def call_arrives(self, pick: int) -> None:
        self.here.call_arrives(self.here.calls[pick % len(self.here.calls)])

    @rule()
    def all_calls_arrive(self) -> None:
        for call in tuple(self.here.calls):
            self.here.call_arrives(call)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.cancels))
    def cancel_arrives(self, pick: int) -> None:
        self.here.cancel_arrives(self.here.cancels[pick % len(self.here.cancels)])

    @rule(pick=picks, left=st.sampled_from([False, False, False, True]))
    @precondition(lambda self: bool(self.here.answers))
    def answer_arrives(self, pick: int, left: bool) -> None:
        call, granted = self.here.answers[pick % len(self.here.answers)]
        self.here.answer_arrives(call, granted, left=left)

    @rule(pick=picks)
    def order_arrives(self, pick: int) -> None:
        if (gateway := self.gateway(pick)).orders:
            self.here.order_arrives(gateway)

    @rule(pick=picks)
    def news_arrive(self, pick: int) -> None:
        if (gateway := self.gateway(pick)).news:
            self.here.news_arrive(gateway)

    @rule()
    def streams_are_quick(self) -> None:
        for gateway in tuple(self.here.gateways.values()):
            while gateway.orders:
                self.here.order_arrives(gateway)
            while gateway.news:
                self.here.news_arrive(gateway)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.travelling))
    def request_arrives(self, pick: int) -> None:
        self.here.request_arrives(self.here.travelling[pick % len(self.here.travelling)])

    # -- the server

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.in_flight))
    def request_ends(self, pick: int) -> None:
        self.here.request_ends(self.here.in_flight[pick % len(self.here.in_flight)])

    @rule(pick=picks, fail=st.sampled_from([False] * 7 + [True]))
    @precondition(lambda self: bool(self.here.work))
    def work_ends(self, pick: int, fail: bool) -> None:
        self.here.work_ends(self.here.work[pick % len(self.here.work)], fail=fail)

    @rule()
    def all_work_ends(self) -> None:
        for effect in tuple(self.here.work):
            if effect in self.here.work:
                self.here.work_ends(effect)

    @rule(pick=picks, runs_out=st.sampled_from([False] * 5 + [True]))
    @precondition(lambda self: bool(self.here.asked))
    def question_is_answered(self, pick: int, runs_out: bool) -> None:
        question = self.here.asked[pick % len(self.here.asked)]
        if not self.here.question_is_answered(question) and runs_out:
            self.here.question_runs_out(question)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.idle))
    def idle_arrives(self, pick: int) -> None:
        self.here.idle_arrives(self.here.idle[pick % len(self.here.idle)])

    @rule(model=models)
    def usage(self, model: ModelName) -> None:
        self.here.usage(model)

    @rule(really=st.sampled_from([False] * 5 + [True]))
    def server_dies(self, really: bool) -> None:
        if really:
            self.here.server_dies()

    # -- gateways, people and time

    @rule(pick=picks, really=st.sampled_from([False, False, True]))
    def gateway_goes(self, pick: int, really: bool) -> None:
        if really and len(self.here.gateways) > 1:
            self.here.gateway_goes(self.gateway(pick))

    @rule(really=st.sampled_from([False, False, True]))
    def gateway_comes(self, really: bool) -> None:
        if really and len(self.here.gateways) < 3:
            self.here.gateway_comes()

    @rule(model=models)
    def evict(self, model: ModelName) -> None:
        self.here.say(ev.EvictRequested(model))

    @rule(model=models)
    def update(self, model: ModelName) -> None:
        entry = self.here.core.entries[model]
        if entry.state is not State.FAILED:
            self.here.say(ev.Register(model, entry.size, entry.generation + 1, warm=False))

    @rule(budget=st.integers(3, 9))
    def budget(self, budget: int) -> None:
        self.here.say(ev.BudgetChanged(budget))

    @rule(seconds=st.sampled_from([0.01, 0.2, 2.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.here.now += seconds
        self.here.say(ev.Tick())

    def teardown(self) -> None:
        if hasattr(self, "here"):
            self.here.finish()


QUICK = settings(
    max_examples=300, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
THOROUGH = settings(QUICK, max_examples=10_000, stateful_step_count=80)


@pytest.mark.slow
def test_what_was_granted_reaches_its_model() -> None:
    run_state_machine_as_test(Journey, settings=QUICK)


@pytest.mark.soak
def test_what_was_granted_reaches_its_model_thoroughly() -> None:
    run_state_machine_as_test(Journey, settings=THOROUGH)


def test_a_gateway_that_hears_of_all_too_late_is_excused() -> None:
    """Hot and withdrawn again both come after the deadline of the drain; in between it lets a request through."""
    here = Reach(3, LIMITS, 1)
    (gateway,) = here.gateways.values()
    for model, size in zip(MODELS, (1, 3, 1, 1), strict=True):
        here.say(ev.Register(model, size, 1, warm=False))
    for model in MODELS[:2]:
        here.ask(gateway, model)
    for call in tuple(here.calls):
        here.call_arrives(call)
    while here.work:
        here.work_ends(here.work[0])
    for seconds in (2.0, 31.0):
        here.now += seconds
        here.say(ev.Tick())
    here.order_arrives(gateway)
    here.ask(gateway, MODELS[0])
    here.finish()
