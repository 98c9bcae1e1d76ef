"""Law 3 where the inference server is asked: no model is taken for idle that is known to be in use.

That is: whatever the agent has heard of when it takes the answer in has come to the server, and ended there. Law 9
holds meanwhile. `reach` holds the world; here two models of three fit, and somebody wants the third.
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
from tests.unit.residency.reach import Gateway, Reach

HOT = [ModelName("a"), ModelName("b")]
WANTED = ModelName("c")

hot = st.sampled_from(HOT)
picks = st.integers(0, 1000)


class InUse(RuleBasedStateMachine):
    here: Reach

    @initialize(gateways=st.integers(1, 2))
    def begin(self, gateways: int) -> None:
        self.here = Reach(len(HOT), Limits(patience=1e6), gateways)
        for model in (*HOT, WANTED):
            self.here.say(ev.Register(model, 1, 1, warm=model in HOT))
        while self.here.work:
            self.here.work_ends(self.here.work[0])
        self.streams_are_quick()
        self.both_are_in_use_and_waited_for()

    def gateway(self, pick: int) -> Gateway:
        known = list(self.here.gateways.values())
        return known[pick % len(known)]

    @rule()
    def both_are_in_use_and_waited_for(self) -> None:
        for model in HOT:
            self.here.ask(self.gateway(0), model)
            self.calls_and_answers_arrive()
        for request in tuple(self.here.travelling):
            self.here.request_arrives(request)
        for model in HOT:
            self.here.usage(model)
        self.here.ask(self.gateway(0), WANTED)
        self.calls_and_answers_arrive()

    @rule(pick=picks, model=hot)
    def ask(self, pick: int, model: ModelName) -> None:
        self.here.ask(self.gateway(pick), model)

    @rule()
    def calls_and_answers_arrive(self) -> None:
        for call in tuple(self.here.calls):
            self.here.call_arrives(call)
        for call, granted in tuple(self.here.answers):
            self.here.answer_arrives(call, granted)

    @rule(pick=picks)
    def news_arrive(self, pick: int) -> None:
        if (gateway := self.gateway(pick)).news:
            self.here.news_arrive(gateway)

    @rule()
    def streams_are_quick(self) -> None:
        for gateway in self.here.gateways.values():
            while gateway.orders:
                self.here.order_arrives(gateway)
            while gateway.news:
                self.here.news_arrive(gateway)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.travelling))
    def request_arrives(self, pick: int) -> None:
        self.here.request_arrives(self.here.travelling[pick % len(self.here.travelling)])

    @rule(model=hot)
    def requests_end(self, model: ModelName) -> None:
        for request in tuple(self.here.in_flight):
            if request.model == model:
                self.here.request_ends(request)

    @rule(model=hot)
    def usage(self, model: ModelName) -> None:
        self.here.usage(model)

    @rule()
    def questions_are_answered(self) -> None:
        for question in tuple(self.here.asked):
            self.here.question_is_answered(question)

    @rule()
    def questions_run_out(self) -> None:
        for question in tuple(self.here.asked):
            self.here.question_runs_out(question)

    @rule(pick=picks, heard=st.booleans(), arrives=st.booleans(), metered=st.booleans())
    @precondition(lambda self: bool(self.here.idle))
    def another_comes_while_an_answer_travels(
        self, pick: int, heard: bool, arrives: bool, metered: bool
    ) -> None:
        model, gateway = self.here.idle[pick % len(self.here.idle)], self.gateway(pick)
        self.here.ask(gateway, model)
        while heard and gateway.news:
            self.here.news_arrive(gateway)
        if arrives and self.here.travelling:
            self.here.request_arrives(self.here.travelling[-1])
        if metered:
            self.here.usage(model)

    @rule(pick=picks)
    @precondition(lambda self: bool(self.here.idle))
    def idle_arrives(self, pick: int) -> None:
        self.here.idle_arrives(self.here.idle[pick % len(self.here.idle)])

    @rule()
    def work_ends(self) -> None:
        for effect in tuple(self.here.work):
            self.here.work_ends(effect)

    @rule(really=st.sampled_from([False] * 5 + [True]))
    def server_dies(self, really: bool) -> None:
        if really:
            self.here.server_dies()

    @rule(really=st.sampled_from([False, False, True]))
    def another_gateway(self, really: bool) -> None:
        if really:
            self.here.gateway_comes()
            self.here.gateway_goes(self.gateway(0))

    def teardown(self) -> None:
        if hasattr(self, "here"):
            self.here.finish()


QUICK = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
THOROUGH = settings(QUICK, max_examples=5_000, stateful_step_count=60)


@pytest.mark.slow
def test_what_is_known_to_be_in_use_is_not_taken_for_idle() -> None:
    run_state_machine_as_test(InUse, settings=QUICK)


@pytest.mark.soak
def test_what_is_known_to_be_in_use_is_not_taken_for_idle_thoroughly() -> None:
    run_state_machine_as_test(InUse, settings=THOROUGH)
