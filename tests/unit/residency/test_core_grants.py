"""Law 9 in small stories: what was granted reaches its model, and nothing waits for a clock."""

from __future__ import annotations

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import RequestId, Ticket
from overbook.residency.states import State
from tests.unit.residency.stories import A, B, C, D, make_resident, state, world
from tests.unit.residency.world import World


def granted_to(*models: str) -> World:
    """A world where each model was loaded for a request whose grant is still on its way; room for no more."""
    here = world(budget=6 * len(models), a=6, b=6, c=6)
    for name in models:
        model = ev.ModelName(name)
        here.arrive(model)
        here.answer(model)
    return here


def test_a_model_with_a_grant_on_its_way_is_no_victim_and_leaves_when_it_was_passed_on() -> None:
    here = granted_to("a")
    here.arrive(B)
    assert here.log[-1][2] == []
    here.now += 59.0
    assert here.say(ev.Tick()) == [], "no clock ends it"
    (request,) = here.granted
    assert here.say(ev.Passed(request)) == [fx.Withdraw(A, Ticket(1), Cause.PRESSURE)]


def test_two_models_by_turns_cost_no_time_of_the_core() -> None:
    """Room for one: the model leaves in the moment in which the next is asked for, though it was used just now."""
    here = granted_to("a")
    here.pass_on(A)
    for other, one in ((B, A), (A, B), (B, A), (A, B)):
        here.arrive(other)
        assert list(here.withdrawals) == [one]
        here.drained(one)
        here.answer(one)
        here.answer(other)
        here.pass_on(other)
    assert here.now == 100.0


def test_waiters_that_came_while_it_loaded_go_through_together_before_it_leaves() -> None:
    here = world(budget=6, a=6, b=6)
    for _ in range(3):
        here.arrive(A)
    here.arrive(B)
    here.answer(A)
    first, second, third = here.granted
    assert here.say(ev.Passed(second)) == []
    assert here.say(ev.Passed(first)) == []
    assert here.say(ev.Passed(third)) == [fx.Withdraw(A, Ticket(1), Cause.PRESSURE)]


def test_what_has_drained_is_not_in_flight_whatever_a_meter_said_before() -> None:
    """Who unloads it may stop its process at once, and need not let it come to an end."""
    here = granted_to("a")
    here.pass_on(A)
    here.say(ev.UsageSeen(A, 1, here.now))
    here.say(ev.EvictRequested(A))
    here.withdrawn(A)
    here.drained(A)
    assert state(here, A) is State.UNLOADING
    assert here.core.entries[A].in_flight == 0


def test_an_uncertain_model_stays_while_an_idle_one_suffices() -> None:
    here = world(budget=12, a=6, b=6, c=6)
    make_resident(here, A)
    here.arrive(B)
    here.answer(B)
    here.arrive(A)
    here.pass_on(B)
    here.now += 0.25
    here.pass_on(A)
    here.arrive(C)
    assert list(here.withdrawals) == [B], (
        "A was used before B, but its request cannot be counted yet"
    )


def test_kept_alive_models_leave_before_uncertain_ones() -> None:
    here = world(budget=12, a=6, b=6, c=6)
    make_resident(here, A, B)
    here.say(ev.Register(A, 6, 1, keep_alive=60.0))
    here.arrive(B)
    here.pass_on(B)
    here.arrive(C)
    assert list(here.withdrawals) == [A]


def test_among_uncertain_models_those_kept_alive_leave_last() -> None:
    here = world(budget=12, a=6, b=6, c=6)
    make_resident(here, A, B)
    here.say(ev.Register(A, 6, 1, keep_alive=60.0))
    for model in (A, B):
        here.arrive(model)
    here.pass_on()
    here.arrive(C)
    assert list(here.withdrawals) == [B]


def test_a_drain_that_began_before_the_grant_was_passed_on_waits_for_it() -> None:
    here = granted_to("a")
    assert here.say(ev.EvictRequested(A)) == [fx.Withdraw(A, Ticket(1), Cause.REQUESTED)]
    assert here.say(ev.Withdrawn(A, Ticket(1))) == []
    (request,) = here.granted
    assert here.say(ev.Passed(request)) == [fx.Settle(A, Ticket(1))]
    assert here.say(ev.Drained(A, Ticket(1))) == [fx.Unload(A)]


def test_a_caller_that_left_before_its_grant_could_be_sent_holds_up_nothing() -> None:
    here = granted_to("a")
    (request,) = here.granted
    here.say(ev.EvictRequested(A))
    assert here.say(ev.Withdrawn(A, Ticket(1))) == []
    assert here.say(ev.RequestLeft(request)) == [fx.Settle(A, Ticket(1))]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_request_puts_a_draining_model_back_at_any_step_before_its_unload(steps: int) -> None:
    here = granted_to("a")
    here.pass_on()
    here.arrive(B)
    if steps > 0:
        here.withdrawn(A)
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Publish(A), fx.Grant(request)]
    if steps > 1:
        assert here.say(ev.Drained(A, Ticket(1))) == [], "the answer crossed the rescue"
    assert state(here, A) is State.RESIDENT
    here.pass_on()
    assert here.withdrawals == {A: Ticket(2)}
    here.settle()


def test_bytes_of_a_draining_model_with_grants_on_their_way_are_no_room_yet() -> None:
    here = granted_to("a", "b")
    here.pass_on(B)
    here.say(ev.EvictRequested(A))
    here.arrive(C)
    assert list(here.withdrawals) == [A, B]


def test_a_drain_deadline_unloads_all_the_same_and_late_news_is_ignored() -> None:
    here = granted_to("a")
    here.say(ev.EvictRequested(A))
    here.now += 5.0
    assert here.say(ev.Tick()) == [fx.Unload(A)]
    here.answer(A)
    (request,) = here.granted
    assert here.core.entries[A].granted == 0
    here.arrive(A)
    here.answer(A)
    assert here.say(ev.Passed(request)) == []
    assert here.core.entries[A].granted == 1, "that of another stay in memory"


def test_with_the_server_what_was_granted_is_void() -> None:
    here = granted_to("a")
    (request,) = here.granted
    here.say(ev.ServerDown())
    assert here.core.entries[A].granted == 0
    assert here.say(ev.Passed(request)) == []


def test_a_model_that_vanished_owes_nothing_to_those_it_was_granted() -> None:
    here = granted_to("a")
    here.arrive(A, suspect=True)
    here.answer(A, present=False)
    assert here.core.entries[A].granted == 0


def test_fairness_ends_nobodys_turn_before_it_began() -> None:
    """Also a claim withdraws a model at once, but the drain ends only when those who were granted it went through."""
    here = granted_to("a")
    here.arrive(B)
    here.now += 60.0
    assert here.say(ev.Tick()) == [fx.Withdraw(A, Ticket(1), Cause.FAIRNESS)]
    assert here.say(ev.Withdrawn(A, Ticket(1))) == []
    (request,) = here.granted
    assert here.say(ev.Passed(request)) == [fx.Settle(A, Ticket(1))]


def test_drained_before_settle_is_illegal() -> None:
    here = granted_to("a")
    here.say(ev.EvictRequested(A))
    here.say_illegal(ev.Drained(A, Ticket(1)))
    here.withdrawn(A)
    here.say_illegal(ev.Drained(A, Ticket(1)))


def test_a_granted_request_may_not_arrive_again() -> None:
    here = granted_to("a")
    (request,) = here.granted
    here.say_illegal(ev.RequestArrived(request, A, 1e9))


def test_an_unknown_request_may_pass() -> None:
    assert world(a=4).say(ev.Passed(RequestId(77))) == []


def test_models_in_use_that_somebody_waits_for_are_named() -> None:
    """So that the agent can ask the server when they are idle, instead of waiting for a meter."""
    here = world(budget=12, a=6, b=6, c=6)
    make_resident(here, B, A)
    for model in (A, B):
        here.say(ev.UsageSeen(model, 1, -1.0))
    assert here.core.awaited(here.now) == []
    waiting = here.arrive(C)
    assert here.core.awaited(here.now) == [B, A], "first to leave first"
    here.say(ev.RequestLeft(waiting))
    assert here.core.awaited(here.now) == []
    here.arrive(C)
    assert here.say(ev.UsageSeen(A, 0, -1.0)) == [fx.Withdraw(A, Ticket(1), Cause.PRESSURE)]
    assert here.core.awaited(here.now) == []


def test_models_that_cannot_leave_all_the_same_are_not_named() -> None:
    here = world(budget=18, a=6, b=6, c=18)
    here.say(ev.Register(D, 6, 1, warm=False))
    make_resident(here, A, B, D)
    for model in (A, B, D):
        here.say(ev.UsageSeen(model, 1, -1.0))
    here.arrive(B, suspect=True)
    here.arrive(D)
    here.arrive(C)
    assert here.core.awaited(here.now) == [A], "B is being verified, D has a request on its way"
