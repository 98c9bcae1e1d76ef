"""The laws of DESIGN section 4 in small stories: updates, removal, suspects, people, budgets, the server.

`world` checks all laws at every step; each test names its own.
"""

from __future__ import annotations

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause, Refusal
from overbook.residency.events import RequestId, Ticket
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.stories import LIMITS, A, B, C, D, make_resident, state, world
from tests.unit.residency.world import World

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
    here = world(limits=Limits(concurrent_loads=1, lookahead=1, unseen=0), a=4, b=4, c=8)
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


def test_a_swap_after_a_removal_that_was_taken_back_needs_nothing_that_was_good() -> None:
    """Removed and applied again while it was reloaded: there is nothing any more that would make way once."""
    here = world(a=6)
    make_resident(here, A)
    here.say(ev.Register(A, 3, 2))
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 6, 3))
    here.answer(A, fail=True)
    assert state(here, A) is State.DRAINING
    here.drained(A)
    here.answer(A)
    assert here.log[-1][2][-1] == fx.Load(A, 3)


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


def test_free_room_is_not_for_a_model_that_pins_keep_out() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 6, 1))
    here.say(ev.Register(B, 5, 1, pinned=True))
    assert here.say(ev.ServerUp()) == [fx.Load(B, 1)]
    assert here.say(ev.LoadSucceeded(B)) == [fx.Publish(B)]
    assert state(here, A) is State.COLD


def test_what_is_pinned_while_it_waits_for_free_room_comes_first() -> None:
    here = World(10, LIMITS)
    for model in (A, B):
        here.say(ev.Register(model, 6, 1))
    here.say(ev.Register(B, 6, 1, pinned=True))
    assert here.say(ev.ServerUp()) == [fx.Load(B, 1)]


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


def test_a_budget_that_goes_and_comes_back_ends_no_backoff() -> None:
    """Found by the adversary: with the refusal the failure was forgotten."""
    here = world(a=8)
    here.arrive(A)
    here.answer(A, fail=True)
    here.say(ev.BudgetChanged(5))
    here.say(ev.BudgetChanged(10))
    assert here.core.entries[A].reason == "cannot read 'a'"
    here.arrive(A)
    assert here.log[-1][2] == [fx.Reject(RequestId(2), Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]
    here.now = here.core.next_wakeup()
    assert here.say(ev.Tick()) == [fx.Load(A, 1)]


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


def test_what_is_measured_later_is_charged_and_remembered() -> None:
    here = world(a=4, b=4)
    make_resident(here, A, B)
    withdrawn = here.say(ev.Measured(B, 9))
    assert withdrawn == [fx.Withdraw(A, Ticket(1), Cause.SURPRISE)]
    assert here.core.ledger.of(B) == here.core.entries[B].size == 9


def test_what_is_measured_during_a_load_is_left_to_its_end() -> None:
    here = world(a=4)
    here.arrive(A)
    assert here.say(ev.Measured(A, 7)) == []
    here.say(ev.LoadSucceeded(A))
    assert here.core.ledger.of(A) == here.core.entries[A].size == 4


def test_what_is_measured_during_an_unload_counts_from_the_next_load_on() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    here.say(ev.Measured(A, 6))
    assert here.core.ledger.of(A) == 4
    here.answer(A)
    here.arrive(A)
    assert here.core.ledger.of(A) == 6


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
    here.arrive(A)
    here.answer(A, fail=True)
    here.say(ev.ServerDown())
    assert here.say(ev.ServerUp()) == []
    here.now = here.core.next_wakeup()
    assert here.say(ev.Tick()) == [fx.Load(A, 1)]


def test_room_made_for_a_reload_goes_back_while_a_suspect_is_verified() -> None:
    here = world(budget=8, b=6, c=2)
    make_resident(here, C, B)
    here.say(ev.Register(B, 1, 2))
    assert state(here, C) is State.DRAINING
    here.arrive(B, suspect=True)
    assert here.log[-1][2] == [fx.Verify(B), fx.Publish(C)]
