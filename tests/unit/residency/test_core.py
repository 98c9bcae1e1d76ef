"""The laws of DESIGN section 4 in small stories. `world` checks all of them at every step; each test names its own."""

from __future__ import annotations

import math

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.books import Limits
from overbook.residency.core import Core, IllegalEvent
from overbook.residency.effects import Cause, Refusal
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.states import State
from tests.unit.residency.world import World

A, B, C, D = (ModelName(name) for name in "abcd")
LIMITS = Limits(min_residency=0.25, drain_timeout=5.0, retry_max=8.0)


def world(budget: int = 10, limits: Limits = LIMITS, **sizes: int) -> World:
    """A server that is up, with cold models of these sizes."""
    new = World(budget, limits)
    new.say(ev.ServerUp())
    for name, size in sizes.items():
        new.say(ev.Register(ModelName(name), size, 1, warm=False))
    return new


def make_resident(here: World, *models: ModelName) -> None:
    """In this order, so that the first is the least recently used; afterwards all are idle and old enough."""
    for model in models:
        here.arrive(model)
        here.answer(model)
        here.now += 1.0
    here.say(ev.Tick())


def state(here: World, model: ModelName) -> State:
    return here.core.entries[model].state


# -- activation


def test_a_request_for_a_cold_model_loads_it_and_ends_when_it_is_resident() -> None:
    here = world(a=4)
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_two_hundred_requests_for_one_cold_model_are_one_load() -> None:
    here = world(a=4)
    requests = [here.arrive(A) for _ in range(200)]
    loads = [e for _, _, effects in here.log for e in effects if isinstance(e, fx.Load)]
    assert len(loads) == 1
    granted = [e.request for e in here.say(ev.LoadSucceeded(A)) if isinstance(e, fx.Grant)]
    assert granted == requests


def test_a_request_for_a_resident_model_ends_at_once() -> None:
    here = world(a=4)
    make_resident(here, A)
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Grant(request)]


def test_an_unknown_model_is_refused_at_once() -> None:
    here = world()
    here.arrive(A)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert refused.refusal is Refusal.UNKNOWN
    assert "'a' is not assigned" in refused.reason


def test_loads_run_side_by_side_up_to_the_limit() -> None:
    here = world(a=1, b=1, c=1)
    for model in (A, B, C):
        here.arrive(model)
    assert [state(here, m) for m in (A, B, C)] == [State.LOADING, State.LOADING, State.COLD]
    here.answer(B)
    assert state(here, C) is State.LOADING


def test_nothing_is_loaded_for_a_caller_who_left() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 4, 1, warm=False))
    request = here.arrive(A)
    here.say(ev.RequestLeft(request))
    assert here.say(ev.ServerUp()) == []


def test_a_load_is_begun_for_the_callers_who_stayed() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 4, 1, warm=False))
    left, _ = here.arrive(A), here.arrive(A)
    here.say(ev.RequestLeft(left))
    assert here.say(ev.ServerUp()) == [fx.Load(A, 1)]


def test_a_caller_waits_no_longer_than_its_deadline() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 4, 1, warm=False))
    request = here.arrive(A, 3.0)
    assert here.core.next_wakeup() == here.now + 3.0
    here.now += 3.0
    (refused,) = here.say(ev.Tick())
    assert isinstance(refused, fx.Reject)
    assert (refused.request, refused.refusal) == (request, Refusal.DEADLINE)
    assert "4 bytes" in refused.reason
    assert "0 bytes of 10 bytes are in use" in refused.reason


@pytest.mark.parametrize(
    ("limits", "models"),
    [
        (Limits(max_waiting_per_model=2), (A, A, A)),
        (Limits(max_waiting=2), (A, B, C)),
    ],
)
def test_waiters_are_bounded_and_the_rest_told_at_once(
    limits: Limits, models: tuple[ModelName, ...]
) -> None:
    here = world(limits=limits, a=1, b=1, c=1)
    for model in models:
        here.arrive(model)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert refused.refusal is Refusal.OVERLOADED
    assert refused.retry_after > 0


# -- eviction


def test_an_eviction_goes_step_by_step() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    request = here.arrive(B)
    assert here.log[-1][2] == [fx.Withdraw(A, Ticket(1), Cause.PRESSURE)]
    assert here.say(ev.Drained(A, Ticket(1))) == [fx.Unload(A)]
    here.calls.clear()
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.PRESSURE), fx.Load(B, 1)]
    assert here.say(ev.LoadSucceeded(B)) == [fx.Publish(B), fx.Grant(request)]
    assert here.core.entries[A].evictions == 1


def test_a_late_report_of_an_early_use_does_not_save_a_model() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.say(ev.UsageSeen(B, 0, here.now))
    here.say(ev.UsageSeen(A, 0, here.now - 0.5))
    here.arrive(C)
    assert state(here, A) is State.DRAINING


def test_a_use_in_the_future_counts_as_now() -> None:
    here = world(a=5)
    make_resident(here, A)
    here.say(ev.UsageSeen(A, 0, here.now + 99))
    assert here.core.entries[A].last_used == here.now


def test_low_priority_leaves_before_the_least_recently_used() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.say(ev.Register(B, 5, 1, priority=-1))
    here.arrive(C)
    assert state(here, B) is State.DRAINING


def test_a_request_rescues_a_draining_model_and_another_leaves_instead() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.arrive(C)
    rescuer = here.arrive(A)
    assert here.log[-1][2] == [
        fx.Publish(A),
        fx.Grant(rescuer),
        fx.Withdraw(B, Ticket(2), Cause.PRESSURE),
    ]
    assert here.say(ev.Drained(A, Ticket(1))) == []
    here.settle()


def test_an_answer_to_an_earlier_withdrawal_unloads_nothing() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    here.say(ev.RequestLeft(here.arrive(B)))
    here.arrive(B)
    assert here.withdrawals == {A: Ticket(2)}
    assert here.say(ev.Drained(A, Ticket(1))) == []
    assert here.say(ev.Drained(A, Ticket(2))) == [fx.Unload(A)]


def test_a_pinned_model_stays_though_it_is_the_least_recently_used() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.say(ev.Register(A, 5, 1, pinned=True))
    here.arrive(C)
    assert here.log[-1][2] == [fx.Withdraw(B, Ticket(1), Cause.PRESSURE)]


def test_a_victim_that_is_in_use_after_all_is_replaced_by_an_idle_one() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.arrive(C)
    effects = here.say(ev.UsageSeen(A, 1, here.now))
    assert effects == [fx.Withdraw(B, Ticket(2), Cause.PRESSURE), fx.Publish(A)]


def test_a_victim_that_is_in_use_after_all_goes_on_draining_when_it_is_the_only_one() -> None:
    here = world(a=5, c=6)
    make_resident(here, A)
    here.arrive(C)
    assert here.say(ev.UsageSeen(A, 1, here.now)) == []
    assert state(here, A) is State.DRAINING
    here.settle()


def test_victims_are_put_back_when_the_caller_left() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    request = here.arrive(B)
    assert here.say(ev.RequestLeft(request)) == [fx.Publish(A)]


def test_a_request_waits_for_the_first_busy_model_to_become_idle() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    here.say(ev.UsageSeen(A, 2, here.now))
    here.arrive(B)
    assert here.log[-1][2] == []
    assert here.say(ev.UsageSeen(A, 0, here.now)) == [fx.Withdraw(A, Ticket(1), Cause.PRESSURE)]


def test_a_young_model_is_left_alone_until_it_is_old_enough() -> None:
    here = world(a=6, b=6)
    here.arrive(A)
    here.answer(A)
    here.arrive(B)
    assert here.log[-1][2] == []
    assert here.core.next_wakeup() == here.now + 0.25
    here.now += 0.25
    assert here.say(ev.Tick()) == [fx.Withdraw(A, Ticket(1), Cause.PRESSURE)]


def test_a_drain_that_does_not_end_is_ended() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    here.arrive(B)
    here.say(ev.UsageSeen(A, 1, here.now))
    assert here.core.next_wakeup() == here.now + 5.0
    here.now += 5.0
    assert here.say(ev.Tick()) == [fx.Unload(A)]


def test_bytes_of_a_removed_model_in_use_do_not_keep_a_request_waiting() -> None:
    """Room that comes back only when a long request ends is no room while somebody idle can leave."""
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.say(ev.UsageSeen(B, 1, here.now))
    here.say(ev.Remove(B))
    here.arrive(C)
    assert here.log[-1][2] == [fx.Withdraw(A, Ticket(2), Cause.PRESSURE)]


# -- what can never fit


def test_a_model_larger_than_the_budget_is_refused_with_the_numbers() -> None:
    here = world(a=10, b=11)
    make_resident(here, A)
    here.arrive(B)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert refused.refusal is Refusal.NO_ROOM
    assert "needs 11 bytes" in refused.reason
    assert "budget of 10 bytes" in refused.reason
    assert state(here, B) is State.FAILED


def test_pinned_models_are_not_evicted_and_the_refusal_says_so() -> None:
    here = world(a=6, b=6)
    here.say(ev.Register(A, 6, 1, pinned=True))
    make_resident(here, A)
    here.arrive(B)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert "pinned models hold 6 bytes" in refused.reason
    here.say(ev.Register(A, 6, 1, pinned=False))
    here.arrive(B)
    assert state(here, A) is State.DRAINING


def test_a_pinned_model_that_is_leaving_keeps_nobody_out() -> None:
    here = world(a=6, b=6)
    here.say(ev.Register(A, 6, 1, pinned=True))
    make_resident(here, A)
    here.say(ev.Remove(A))
    here.arrive(B)
    here.settle()
    assert state(here, B) is State.RESIDENT


def test_a_pinned_model_that_reloads_keeps_nobody_out_for_good() -> None:
    here = world(a=4, b=5)
    here.say(ev.Register(A, 4, 1, pinned=True))
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2, pinned=True))
    here.arrive(B)
    assert here.log[-1][2] == []
    here.answer(A)
    assert state(here, B) is State.LOADING


def test_a_pin_that_takes_the_room_of_those_who_wait_tells_them() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    here.say(ev.UsageSeen(A, 1, here.now))
    here.arrive(B)
    (refused,) = here.say(ev.Register(A, 6, 1, pinned=True))
    assert isinstance(refused, fx.Reject)
    assert refused.refusal is Refusal.NO_ROOM


# -- failures


def test_a_failed_load_is_told_with_its_reason_and_not_repeated_by_every_request() -> None:
    here = world(a=4)
    request = here.arrive(A)
    assert here.say(ev.LoadFailed(A, "no such file")) == [
        fx.Reject(request, Refusal.LOAD_FAILED, "no such file", 1.0)
    ]
    here.now += 0.5
    second = here.arrive(A)
    assert here.log[-1][2] == [fx.Reject(second, Refusal.LOAD_FAILED, "no such file", 0.5)]


def test_backoff_doubles_and_ends() -> None:
    here = world(a=4)
    here.arrive(A)
    waits = []
    for _ in range(5):
        here.answer(A, fail=True)
        waits.append(here.core.next_wakeup() - here.now)
        here.now = here.core.next_wakeup()
        assert here.say(ev.Tick()) == [fx.Load(A, 1)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_new_content_is_tried_at_once() -> None:
    here = world(a=4)
    here.arrive(A)
    here.answer(A, fail=True)
    assert here.say(ev.Register(A, 4, 2)) == [fx.Load(A, 2)]


def test_waiters_of_an_outdated_load_that_fails_wait_for_the_new_content() -> None:
    here = world(a=4)
    request = here.arrive(A)
    here.say(ev.Register(A, 5, 2))
    assert here.say(ev.LoadFailed(A, "old and broken")) == [fx.Load(A, 2)]
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(A))


def test_the_backoff_of_a_reload_holds_after_an_eviction() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    here.answer(A)
    request = here.arrive(A)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert (refused.request, refused.refusal) == (request, Refusal.LOAD_FAILED)


def test_who_waits_for_the_unload_of_content_in_backoff_is_told_why() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    request = here.arrive(A)
    effects = here.say(ev.Unloaded(A))
    assert effects[1:] == [fx.Reject(request, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]


def test_an_outdated_load_that_fails_for_nobody_leaves_room_for_the_new_content() -> None:
    here = world(a=4)
    request = here.arrive(A)
    here.say(ev.Register(A, 5, 2))
    here.say(ev.RequestLeft(request))
    assert here.say(ev.LoadFailed(A, "old and broken")) == [fx.Load(A, 2)]


def test_a_retry_that_new_content_overtook_is_void() -> None:
    here = world(a=4)
    here.arrive(A)
    here.answer(A, fail=True)
    here.say(ev.Register(A, 4, 2, warm=False))
    here.now += 2.0
    assert here.say(ev.Tick()) == []


# -- updates


def test_an_update_is_loaded_beside_the_old_copy_and_both_are_charged() -> None:
    here = world(a=4)
    make_resident(here, A)
    assert here.say(ev.Register(A, 5, 2)) == [fx.Load(A, 2, reload=True)]
    assert here.core.ledger.of(A) == 9
    granted = here.arrive(A)
    assert here.log[-1][2] == [fx.Grant(granted)]
    here.answer(A)
    assert here.core.ledger.of(A) == 5


def test_without_room_for_both_requests_wait_for_the_swap() -> None:
    here = world(a=6)
    make_resident(here, A)
    assert here.say(ev.Register(A, 7, 2)) == [fx.Withdraw(A, Ticket(1), Cause.UPDATED)]
    request = here.arrive(A)
    here.drained(A)
    here.answer(A)
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(A))


def test_after_a_swap_that_nobody_waits_for_the_model_comes_back_by_itself() -> None:
    here = world(a=6)
    make_resident(here, A)
    here.say(ev.Register(A, 7, 2))
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.UPDATED), fx.Load(A, 2)]


def test_a_failed_reload_keeps_the_old_copy_and_is_tried_again() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    assert here.say(ev.LoadFailed(A, "bad")) == []
    assert here.core.entries[A].reason == "bad"
    assert here.core.ledger.of(A) == 4
    here.now = here.core.next_wakeup()
    assert here.say(ev.Tick()) == [fx.Load(A, 2, reload=True)]


def test_newer_content_does_not_pay_for_the_failure_of_the_one_before() -> None:
    here = world(a=3)
    make_resident(here, A)
    here.say(ev.Register(A, 3, 2))
    here.say(ev.Register(A, 3, 3))
    assert here.say(ev.LoadFailed(A, "two is bad")) == [fx.Load(A, 3, reload=True)]


def test_an_update_that_does_not_fit_keeps_the_old_copy_until_it_does() -> None:
    here = world(a=4)
    make_resident(here, A)
    assert here.say(ev.Register(A, 11, 2)) == []
    assert "needs 11 bytes" in here.core.entries[A].reason
    assert here.say(ev.BudgetChanged(15)) == [fx.Load(A, 2, reload=True)]


def test_an_update_that_did_not_fit_is_no_longer_due_when_the_model_left() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 11, 2))
    here.say(ev.EvictRequested(A))
    assert here.say(ev.BudgetChanged(30)) == []


def test_an_update_that_pins_keep_out_comes_when_they_go() -> None:
    here = world(a=3, b=5)
    make_resident(here, A, B)
    here.say(ev.Register(B, 5, 1, pinned=True))
    assert here.say(ev.Register(A, 6, 2)) == []
    effects = here.say(ev.Register(B, 5, 1, pinned=False))
    assert effects == [fx.Withdraw(B, Ticket(1), Cause.PRESSURE)]
    here.settle()


def test_a_victim_whose_reload_was_due_is_not_reloaded() -> None:
    here = world(limits=Limits(concurrent_loads=1, lookahead=1, min_residency=0), a=4, b=4, c=8)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.arrive(C)
    assert state(here, A) is State.DRAINING
    here.now += 2.0
    assert here.say(ev.Tick()) == []
    here.settle()


def test_a_model_evicted_by_hand_is_not_reloaded_before_it_is_asked_for() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.say(ev.EvictRequested(A))
    here.now += 2.0
    assert here.say(ev.Tick()) == []


# -- removal


def test_a_removed_model_drains_and_is_forgotten() -> None:
    here = world(a=4)
    make_resident(here, A)
    assert here.say(ev.Remove(A)) == [fx.Withdraw(A, Ticket(1), Cause.REMOVED)]
    here.arrive(A)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert refused.refusal is Refusal.UNKNOWN
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.REMOVED), fx.Forgotten(A)]


def test_a_cold_model_is_forgotten_at_once_and_its_callers_told() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 4, 1))
    request = here.arrive(A)
    assert here.say(ev.Remove(A)) == [
        fx.Reject(request, Refusal.UNKNOWN, "model 'a' was removed"),
        fx.Forgotten(A),
    ]


def test_a_victim_that_is_removed_is_not_put_back() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    request = here.arrive(B)
    here.say(ev.Remove(A))
    assert here.say(ev.RequestLeft(request)) == []
    assert state(here, A) is State.DRAINING


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("reload", [False, True])
def test_a_model_removed_while_it_loads_goes_when_the_load_ends(fail: bool, reload: bool) -> None:
    here = world(a=4)
    if reload:
        make_resident(here, A)
        here.say(ev.Register(A, 4, 2))
    else:
        here.arrive(A)
    here.say(ev.Remove(A))
    here.answer(A, fail=fail)
    if A in here.core.entries:
        assert state(here, A) is State.DRAINING
        here.drained(A)
        here.answer(A)
    assert A not in here.core.entries


def test_the_same_content_registered_again_rescues_a_removed_model() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Remove(A))
    assert here.say(ev.Register(A, 4, 1)) == [fx.Publish(A)]


def test_other_content_under_the_name_of_a_removed_model_never_meets_the_old_copy() -> None:
    """Also when its generations begin anew."""
    here = world(a=4)
    here.say(ev.Register(A, 4, 7))
    make_resident(here, A)
    here.say(ev.Remove(A))
    assert here.say(ev.Register(A, 4, 1)) == []
    request = here.arrive(A)
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.UPDATED), fx.Load(A, 1)]
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(A))


# -- suspects


def test_a_suspect_waits_for_the_answer_of_the_server() -> None:
    here = world(a=4)
    make_resident(here, A)
    first, second = here.arrive(A, suspect=True), here.arrive(A, suspect=True)
    assert [e for _, _, effects in here.log[-2:] for e in effects] == [fx.Verify(A)]
    assert here.say(ev.Verified(A, True)) == [fx.Grant(first), fx.Grant(second)]


def test_a_model_that_vanished_is_loaded_again_for_those_who_wait() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.UsageSeen(A, 3, here.now))
    request = here.arrive(A, suspect=True)
    assert here.say(ev.Verified(A, False)) == [fx.Load(A, 1)]
    assert here.core.entries[A].in_flight == 0
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(A))


def test_a_model_that_vanished_while_nobody_waits_is_cold() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.RequestLeft(here.arrive(A, suspect=True)))
    assert here.say(ev.Verified(A, False)) == []
    assert state(here, A) is State.COLD


def test_a_suspect_during_a_reload_waits_for_its_end() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    request = here.arrive(A, suspect=True)
    assert here.log[-1][2] == []
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(A))


def test_a_suspect_is_not_forgotten_when_the_reload_fails() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.arrive(A, suspect=True)
    assert here.say(ev.LoadFailed(A, "bad")) == [fx.Verify(A)]


def test_no_reload_begins_while_it_is_unknown_what_is_there() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.arrive(A, suspect=True)
    assert here.say(ev.Register(A, 4, 2)) == []
    assert fx.Load(A, 2, reload=True) in here.say(ev.Verified(A, True))


def test_an_answer_that_finds_the_model_draining_changes_nothing() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.arrive(A, suspect=True)
    here.say(ev.EvictRequested(A))
    assert here.say(ev.Verified(A, True)) == []
    assert state(here, A) is State.DRAINING
    rescuer = here.arrive(A)
    assert here.log[-1][2] == [fx.Publish(A), fx.Verify(A), fx.Grant(rescuer)]


def test_who_asked_for_the_check_may_be_gone_when_it_is_answered() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.RequestLeft(here.arrive(A, suspect=True)))
    assert here.say(ev.Verified(A, True)) == []
    assert state(here, A) is State.RESIDENT


# -- people


def test_evict_makes_cold_and_a_request_changes_that() -> None:
    here = world(a=4)
    make_resident(here, A)
    assert here.say(ev.EvictRequested(A)) == [fx.Withdraw(A, Ticket(1), Cause.REQUESTED)]
    assert here.say(ev.EvictRequested(A)) == []
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Publish(A), fx.Grant(request)]


def test_evict_of_a_victim_keeps_it_from_being_put_back() -> None:
    here = world(a=6, b=6)
    make_resident(here, A)
    request = here.arrive(B)
    here.say(ev.EvictRequested(A))
    assert here.say(ev.RequestLeft(request)) == []
    assert state(here, A) is State.DRAINING


def test_evict_withdraws_the_wish_for_a_warm_load() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 4, 1))
    here.say(ev.EvictRequested(A))
    assert here.say(ev.ServerUp()) == []


# -- warm loads


def test_free_room_is_filled_one_by_one_and_nobody_is_evicted_for_it() -> None:
    here = World(10, LIMITS)
    for model in (A, B, C, D):
        here.say(ev.Register(model, 4, 1))
    assert here.say(ev.ServerUp()) == [fx.Load(A, 1)]
    here.answer(A)
    assert state(here, B) is State.LOADING
    assert here.say(ev.LoadSucceeded(B)) == [fx.Publish(B)]
    assert [state(here, model) for model in (C, D)] == [State.COLD, State.COLD]


# -- budget and measured sizes


def test_a_smaller_budget_evicts_what_is_idle_as_far_as_it_goes() -> None:
    here = world(a=4, b=4)
    make_resident(here, A, B)
    here.say(ev.UsageSeen(A, 1, here.now))
    assert here.say(ev.BudgetChanged(3)) == [fx.Withdraw(B, Ticket(1), Cause.BUDGET)]
    assert here.say(ev.UsageSeen(A, 0, here.now)) == [fx.Withdraw(A, Ticket(2), Cause.BUDGET)]


def test_a_budget_that_grows_again_puts_the_victims_back_and_serves_who_waited() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.BudgetChanged(3))
    here.say(ev.BudgetChanged(4))
    assert state(here, A) is State.RESIDENT
    here.say(ev.BudgetChanged(3))
    here.arrive(A)
    here.say(ev.BudgetChanged(4))
    here.settle()


def test_a_cold_model_that_no_longer_fits_is_refused_until_it_does() -> None:
    here = world(a=8)
    here.say(ev.BudgetChanged(5))
    assert state(here, A) is State.FAILED
    here.say(ev.BudgetChanged(6))
    assert "budget of 6 bytes" in here.core.entries[A].reason
    assert here.say(ev.BudgetChanged(9)) == [fx.Load(A, 1)]


def test_a_resident_model_that_will_no_longer_fit_is_refused_at_its_next_request() -> None:
    here = world(a=8)
    make_resident(here, A)
    here.say(ev.BudgetChanged(5))
    here.drained(A)
    here.answer(A)
    here.arrive(A)
    (refused,) = here.log[-1][2]
    assert isinstance(refused, fx.Reject)
    assert refused.refusal is Refusal.NO_ROOM


def test_what_a_load_really_took_is_charged_and_remembered() -> None:
    here = world(a=4, b=4)
    make_resident(here, A)
    here.arrive(B)
    here.answer(B, measured=9)
    assert here.core.ledger.total == 13
    assert state(here, A) is State.DRAINING
    assert here.core.entries[B].size == 9


def test_a_model_measured_to_take_nothing_is_lost_with_the_server_like_any_other() -> None:
    here = world(a=4, b=0)
    here.arrive(A)
    here.answer(A, measured=0)
    here.arrive(B)
    here.say(ev.ServerDown())
    assert [state(here, m) for m in (A, B)] == [State.COLD, State.COLD]


@pytest.mark.parametrize(("size", "charged"), [(6, 6), (2, 2), (11, 4)])
def test_a_better_guess_of_a_resident_model_is_charged_if_it_fits(size: int, charged: int) -> None:
    here = world(a=4)
    make_resident(here, A)
    assert here.say(ev.Register(A, size, 1)) == []
    assert here.core.ledger.of(A) == charged


@pytest.mark.parametrize(("size", "charged"), [(6, 6), (2, 2), (11, 4)])
def test_a_better_guess_during_the_load_is_not_lost(size: int, charged: int) -> None:
    here = world(a=4)
    here.arrive(A)
    here.say(ev.Register(A, size, 1))
    assert here.core.ledger.of(A) == charged
    here.answer(A)
    assert here.core.entries[A].size == size


def test_a_guess_that_shrinks_helps_also_in_a_deficit() -> None:
    here = world(a=6, b=4)
    make_resident(here, A, B)
    for model in (A, B):
        here.say(ev.UsageSeen(model, 1, here.now))
    here.say(ev.BudgetChanged(5))
    here.say(ev.Register(A, 3, 1))
    assert here.core.ledger.total == 7


# -- the server


def test_after_a_crash_the_hot_set_comes_back_latest_used_first() -> None:
    here = world(a=3, b=3, c=3)
    make_resident(here, A, B, C)
    here.say(ev.UsageSeen(A, 0, here.now))
    here.say(ev.ServerDown())
    assert here.core.ledger.total == 0
    here.say(ev.ServerUp())
    order = []
    while here.calls:
        (model,) = here.calls
        order.append(model)
        here.answer(model)
    assert order == [A, C, B]


def test_who_waits_for_a_lost_model_still_gets_it() -> None:
    here = world(a=3, b=4)
    make_resident(here, A)
    verified, loading = here.arrive(A, suspect=True), here.arrive(B)
    here.say(ev.ServerDown())
    assert {verified, loading} == set(here.mirror.waiters)
    here.say(ev.ServerUp())
    here.settle()


def test_a_removed_model_is_forgotten_when_the_server_dies() -> None:
    here = world(a=3)
    make_resident(here, A)
    here.say(ev.Remove(A))
    assert here.say(ev.ServerDown()) == [fx.Forgotten(A)]


def test_content_in_backoff_does_not_come_back_before_its_time() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.say(ev.ServerDown())
    assert here.say(ev.ServerUp()) == []
    here.now = here.core.next_wakeup()
    assert here.say(ev.Tick()) == [fx.Load(A, 2)]


# -- law 8


def test_illegal_events_raise_and_change_nothing() -> None:
    here = world(a=4, b=4)
    make_resident(here, A)
    waiting = here.arrive(B)
    for event in (
        ev.RequestArrived(waiting, A, math.inf),
        ev.Register(A, 4, 0),
        ev.Register(A, -1, 2),
        ev.Remove(D),
        ev.EvictRequested(D),
        ev.LoadSucceeded(A),
        ev.LoadSucceeded(B, -1),
        ev.LoadFailed(A, "no"),
        ev.Unloaded(A),
        ev.Verified(A, True),
        ev.UsageSeen(A, -1, 0.0),
        ev.ServerUp(),
        ev.BudgetChanged(0),
    ):
        here.say_illegal(event)


def test_the_message_of_an_illegal_event_names_what_is_and_what_was_expected() -> None:
    core = Core(budget=10)
    core.handle(ev.Register(A, 4, 1), 0.0)
    with pytest.raises(IllegalEvent, match="model 'a' is cold; expected loading or reloading"):
        core.handle(ev.LoadSucceeded(A), 0.0)


def test_statistics() -> None:
    here = world(a=4, b=8)
    make_resident(here, A)
    here.arrive(B)
    assert here.core.statistics() == (4, 10, 1, 2, 0)
    here.settle()
    assert here.core.statistics() == (8, 10, 0, 2, 1)


def test_usage_of_what_is_not_in_memory_is_ignored() -> None:
    here = world(a=4)
    here.say(ev.UsageSeen(A, 5, 1.0))
    here.say(ev.UsageSeen(D, 5, 1.0))
    assert here.core.entries[A].in_flight == 0


def test_a_request_id_that_never_was_may_leave() -> None:
    assert world(a=4).say(ev.RequestLeft(RequestId(77))) == []
