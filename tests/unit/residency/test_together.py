"""What is called is there before its caller, leaves only with it, and goes last; each law on its own."""

from __future__ import annotations

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause, Refusal
from overbook.residency.states import State
from tests.unit.residency.calling import A, B, C, Calling, D, E, F


def test_what_is_called_is_loaded_first_and_then_its_caller() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    request = here.ask(D)
    assert sorted(here.calls) == [A, B]
    here.end_work(A)
    here.end_work(B)
    assert here.state(C) is State.LOADING
    assert here.state(D) is State.COLD
    here.end_work(C)
    assert here.state(D) is State.LOADING
    here.end_work(D)
    assert request in here.granted


def test_what_another_wants_as_well_is_loaded_once() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    own, through = here.ask(A), here.ask(E)
    assert len(here.calls[A]) == 1
    here.end_work(A)
    assert own in here.granted
    here.end_work(E)
    assert through in here.granted


def test_what_is_called_and_wanted_itself_gets_room_once() -> None:
    here = Calling(6, (2, 0, 0, 0, 2, 6))
    here.resident(F)
    own, through = here.ask(A), here.ask(E)
    here.rest()
    assert {own, through}.isdisjoint({*here.waiting, *here.refused})
    here.resident(F)
    here.say(ev.UsageSeen(F, 1, here.now))
    through, own = here.ask(E), here.ask(A)
    here.rest()
    assert {own, through}.isdisjoint({*here.waiting, *here.refused})


def test_room_for_all_of_them_is_made_at_once() -> None:
    here = Calling(4, (2, 0, 0, 0, 2, 4))
    here.resident(F)
    request = here.ask(E)
    assert here.state(F) is State.DRAINING
    here.rest()
    assert request not in here.waiting
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.RESIDENT)


def test_those_that_never_fit_together_are_refused_with_the_sum() -> None:
    here = Calling(4, (2, 0, 2, 1, 3, 0))
    refusal, reason = here.refused[here.ask(E)]
    assert refusal is Refusal.NO_ROOM
    assert "model 'e' and what it calls (a) need 5 bytes together, more than the 4 bytes" in reason
    refusal, reason = here.refused[here.ask(D)]
    assert "what it calls (a, b, c) need 5 bytes" in reason


def test_a_budget_that_became_too_small_refuses_who_waits() -> None:
    here = Calling(6, (2, 0, 0, 0, 3, 0))
    request = here.ask(E)
    here.say(ev.BudgetChanged(4))
    here.budget = 6
    here.end_work(A)
    assert here.refused[request][0] is Refusal.NO_ROOM


def test_a_callee_that_cannot_be_loaded_is_the_reason() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    request = here.ask(E)
    here.end_work(A, fail=True)
    refusal, reason = here.refused[request]
    assert refusal is Refusal.LOAD_FAILED
    assert reason == "model 'e' calls 'a', which cannot be loaded: no"
    assert here.refused[here.ask(E)][0] is Refusal.LOAD_FAILED


def test_who_cannot_come_into_memory_as_things_are() -> None:
    here = Calling(6, (2, 0, 2, 1, 5, 0))
    why = here.core.hopeless(E, here.now)
    assert "model 'e' and what it calls (a) need 7 bytes together, more than the 6 bytes" in why
    assert here.core.hopeless_callers(here.now) == {E: why}
    assert here.core.hopeless(F, here.now) == "", "it calls nobody"
    here.say(ev.BudgetChanged(7))
    here.budget = 7
    assert here.core.hopeless_callers(here.now) == {}
    here.resident(E)
    here.say(ev.BudgetChanged(6))
    assert here.core.hopeless(E, here.now) == "", "it is in memory"


def test_a_pause_after_a_failure_is_not_for_ever() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    request = here.ask(E)
    here.end_work(A, fail=True)
    assert request in here.refused
    assert here.core.hopeless(E, here.now) == ""


def test_a_callee_that_is_not_there_yet_is_waited_for() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.say(ev.Remove(A))
    request = here.ask(E)
    assert request in here.waiting
    here.register(A)
    here.rest()
    assert request not in here.waiting | here.refused.keys()


def test_a_circle_is_refused() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.register(A, callees=(E,))
    refusal, reason = here.refused[here.ask(E)]
    assert (refusal, reason) == (Refusal.LOAD_FAILED, "model 'e' calls itself by way of others")


def test_a_circle_that_comes_about_in_memory_leaves() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.resident(E)
    here.register(A, callees=(E,))
    here.say(ev.EvictRequested(A))
    here.rest()
    assert (here.state(A), here.state(E)) == (State.COLD, State.COLD)


def test_a_caller_leaves_alone_and_frees_what_it_called() -> None:
    here = Calling(4, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.resident(F)
    assert here.causes == {E: Cause.PRESSURE, A: Cause.PRESSURE}
    here = Calling(4, (2, 0, 0, 0, 1, 2))
    here.resident(E)
    here.resident(F)
    assert here.causes == {E: Cause.PRESSURE}
    assert here.state(A) is State.RESIDENT


def test_what_is_called_waits_for_its_caller_to_be_gone() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.EvictRequested(A))
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.DRAINING)
    here.withdrawn(A)
    here.drained(A)
    assert here.state(A) is State.DRAINING
    here.withdrawn(E)
    here.drained(E)
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.UNLOADING)
    here.end_work(E)
    assert here.state(A) is State.UNLOADING
    here.end_work(A)
    assert here.causes == {E: Cause.CALLEE, A: Cause.REQUESTED}


def test_a_request_puts_both_back_up_to_the_unload() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.EvictRequested(A))
    here.withdrawn(A)
    here.drained(A)
    request = here.ask(E)
    assert request in here.granted
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.RESIDENT)
    here.rest()
    assert here.causes == {}


def test_a_request_for_what_is_called_leaves_the_caller_to_go() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.EvictRequested(A))
    assert here.ask(A) in here.granted
    here.rest()
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.COLD)


def test_a_cold_caller_calls_back_what_leaves() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(A)
    here.say(ev.EvictRequested(A))
    request = here.ask(E)
    assert here.state(A) is State.RESIDENT
    here.rest()
    assert request not in here.waiting


def test_what_is_deleted_takes_its_callers_along_and_is_not_put_back() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.Remove(A))
    request = here.ask(E)
    assert request in here.waiting
    here.rest()
    assert here.entry(A) is None
    assert here.state(E) is State.COLD


def test_a_drain_that_takes_too_long_still_waits_for_the_caller() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.EvictRequested(A))
    here.tick(61.0)
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.UNLOADING)
    assert here.core.next_wakeup() == float("inf")
    here.end_work(E)
    assert here.state(A) is State.UNLOADING


def test_who_is_in_use_keeps_what_it_calls() -> None:
    here = Calling(4, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.UsageSeen(E, 1, here.now))
    request = here.ask(F)
    assert here.state(A) is State.RESIDENT
    assert request in here.waiting
    here.rest()
    assert request not in here.waiting


def test_a_use_is_a_use_of_all_that_is_called() -> None:
    here = Calling(10, (2, 1, 1, 1, 1, 3))
    here.resident(D)
    before = here.core.entries[A].last_used
    here.now += 5.0
    here.say(ev.UsageSeen(D, 0, here.now))
    assert here.core.entries[A].last_used == here.core.entries[B].last_used == here.now > before


def test_who_weighs_nothing_gives_way_as_well() -> None:
    here = Calling(4, (2, 2, 0, 0, 0, 4))
    here.resident(C)
    assert here.core.ledger.of(C) == 0
    here.resident(F)
    assert here.causes.keys() == {A, B, C}


def test_who_weighs_nothing_and_is_in_use_does_not() -> None:
    here = Calling(4, (2, 2, 0, 0, 0, 4))
    here.resident(C)
    here.say(ev.UsageSeen(C, 1, here.now))
    request = here.ask(F)
    assert request in here.waiting
    assert here.withdrawals == {}


def test_impatience_takes_callers_and_what_they_call() -> None:
    here = Calling(4, (2, 1, 1, 0, 0, 4), patience=1.0)
    here.resident(C)
    here.say(ev.UsageSeen(C, 1, here.now))
    request = here.ask(F)
    here.tick(1.5)
    assert here.state(C) is State.DRAINING
    here.rest()
    assert request not in here.waiting


def test_impatience_takes_no_model_that_would_give_nothing() -> None:
    here = Calling(4, (0, 4, 0, 0, 0, 4), patience=1.0)
    here.resident(A, B)
    for model in (A, B):
        here.say(ev.UsageSeen(model, 1, here.now))
    here.ask(F)
    here.tick(1.5)
    assert (here.state(A), here.state(B)) == (State.RESIDENT, State.DRAINING)


def test_impatience_for_a_caller_spares_what_it_calls() -> None:
    here = Calling(4, (2, 0, 0, 0, 2, 2), patience=1.0)
    here.resident(A, F)
    for model in (A, F):
        here.say(ev.UsageSeen(model, 1, here.now))
    request = here.ask(E)
    here.tick(1.5)
    assert (here.state(A), here.state(F)) == (State.RESIDENT, State.DRAINING)
    here.rest()
    assert request not in here.waiting


def test_a_pinned_caller_keeps_what_it_calls() -> None:
    here = Calling(5, (2, 0, 0, 0, 1, 3))
    here.register(E, pinned=True)
    here.resident(E)
    request = here.ask(F)
    here.tick(5.0)
    assert request in here.waiting
    assert here.state(A) is State.RESIDENT


def test_what_is_called_and_vanishes_takes_its_caller_along() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.ask(A, suspect=True)
    here.end_work(A, fail=True)
    assert here.state(E) is State.DRAINING
    here.rest()
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.COLD)


def test_a_caller_that_was_loading_meanwhile_leaves_at_once() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(A)
    request = here.ask(E)
    here.say(ev.EvictRequested(A))
    here.end_work(E)
    assert here.state(E) is State.DRAINING
    assert request in here.granted  # what is called is not unloaded before it is through
    here.rest()
    assert here.causes == {A: Cause.REQUESTED, E: Cause.CALLEE}


def test_a_caller_that_was_reloading_meanwhile_leaves_at_once() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.generation[E] += 1
    here.register(E)
    assert here.state(E) is State.RELOADING
    here.say(ev.EvictRequested(A))
    here.end_work(E, fail=True)
    assert here.state(E) is State.DRAINING
    here.rest()
    assert here.state(A) is State.COLD


def test_who_calls_others_now_leaves_and_comes_back_with_them() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.resident(F)
    here.register(F, callees=(B,))
    assert here.state(F) is State.DRAINING
    here.rest()
    here.resident(F)
    assert here.state(B) is State.RESIDENT
    here.resident(A)
    here.register(F, callees=(B, A))
    assert here.state(F) is State.RESIDENT


def test_a_restart_brings_back_what_is_called_first() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.resident(E)
    here.restart()
    loads = [model for model, calls in here.calls.items() if calls]
    assert loads == [A]
    here.rest()
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.RESIDENT)


def test_a_victim_that_nobody_needs_is_put_back_with_what_it_calls() -> None:
    here = Calling(4, (2, 0, 0, 0, 1, 4))
    here.resident(E)
    request = here.ask(F)
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.DRAINING)
    del here.waiting[request]
    here.say(ev.RequestLeft(request))
    here.rest()
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.RESIDENT)


def test_one_who_drains_for_another_reason_is_not_settled_twice() -> None:
    here = Calling(10, (2, 0, 0, 0, 1, 3))
    here.resident(E)
    here.say(ev.EvictRequested(A))
    here.withdrawn(A)
    here.drained(A)
    here.say(ev.EvictRequested(E))
    here.say(ev.ServerDown())
    here.say(ev.ServerUp())
    here.rest()
    assert here.state(A) in (State.COLD, State.RESIDENT)
    assert not any(isinstance(call, fx.Unload) for calls in here.calls.values() for call in calls)
