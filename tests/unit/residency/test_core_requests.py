"""The laws of DESIGN section 4 in small stories: requests, evictions, refusals, failures, and law 8.

`world` checks all laws at every step; each test names its own.
"""

from __future__ import annotations

import math

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core, IllegalEvent
from overbook.residency.effects import Cause, Refusal
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.stories import LIMITS, A, B, C, D, make_resident, state, world
from tests.unit.residency.world import World

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
    assert here.say(ev.Withdrawn(A, Ticket(1))) == [fx.Settle(A, Ticket(1))]
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


def test_a_model_that_is_kept_alive_stays_while_another_can_leave() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    here.say(ev.Register(A, 5, 1, keep_alive=60.0))
    here.arrive(C)
    assert (state(here, A), state(here, B)) == (State.RESIDENT, State.DRAINING)


def test_keep_alive_ends_and_holds_up_nobody() -> None:
    here = world(a=5, b=5, c=5)
    make_resident(here, A, B)
    for model in (A, B):
        here.say(ev.Register(model, 5, 1, keep_alive=60.0))
    here.arrive(C)
    assert state(here, A) is State.DRAINING, "there is no other choice"
    here.settle()
    here.say(ev.Register(C, 5, 1, keep_alive=5.0))
    here.now += 10.0
    here.arrive(A)
    assert (state(here, B), state(here, C)) == (State.RESIDENT, State.DRAINING)


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
    assert here.say(ev.Withdrawn(A, Ticket(1))) == []
    assert here.say(ev.Drained(A, Ticket(1))) == []
    assert here.say(ev.Withdrawn(A, Ticket(2))) == [fx.Settle(A, Ticket(2))]
    assert here.say(ev.Withdrawn(A, Ticket(2))) == []
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
        here.answer(A, fail=True, passing=True)
        waits.append(here.core.next_wakeup() - here.now)
        here.now = here.core.next_wakeup()
        assert here.say(ev.Tick()) == [fx.Load(A, 1)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0]


def give_up(here: World) -> None:
    """A's content is refused until nobody tries it any more."""
    here.arrive(A)
    for _ in range(1 + here.limits.retries):
        here.answer(A, fail=True)
        here.now = min(here.now + 100.0, here.core.next_wakeup())
        here.say(ev.Tick())


def test_what_lies_in_the_content_is_tried_three_more_times_and_then_given_up() -> None:
    here = world(a=4)
    give_up(here)
    tries = [effect for _, _, told in here.log for effect in told if isinstance(effect, fx.Load)]
    assert len(tries) == 4
    assert here.core.next_wakeup() == math.inf
    assert here.core.entries[A].given_up
    request = here.arrive(A)
    told = [fx.Reject(request, Refusal.LOAD_FAILED, "cannot read 'a'", 0.0)]
    assert here.log[-1][2] == told, "at once, and without advice to come again"


def test_a_new_process_does_not_make_a_hopeless_content_better() -> None:
    here = world(a=4)
    give_up(here)
    here.say(ev.ServerDown())
    assert here.say(ev.ServerUp()) == []


@pytest.mark.parametrize("change", [ev.Register(A, 4, 2), ev.Register(A, 5, 1)])
def test_a_change_makes_what_was_given_up_worth_a_try(change: ev.Register) -> None:
    here = world(a=4)
    give_up(here)
    assert here.say(change) == [fx.Load(A, change.generation)]


def test_a_person_may_have_what_was_given_up_tried_again() -> None:
    here = world(a=4)
    give_up(here)
    assert here.say(ev.TryAgain(A)) == []
    request = here.arrive(A)
    here.answer(A)
    assert here.granted == {request: A}


def test_a_person_need_not_wait_for_the_end_of_the_backoff() -> None:
    here = world(a=4)
    here.arrive(A)
    here.answer(A, fail=True, passing=True)
    here.say(ev.TryAgain(A))
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_a_person_may_ask_for_another_try_of_what_is_tried_now() -> None:
    here = world(a=4)
    request = here.arrive(A)
    assert here.say(ev.TryAgain(A)) == []
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_nobody_can_help_a_model_that_is_larger_than_the_budget() -> None:
    here = world(a=11)
    assert here.say(ev.TryAgain(A)) == []
    assert state(here, A) is State.FAILED
    assert "budget of 10 bytes" in here.core.entries[A].reason


def test_what_passes_between_two_failures_does_not_count_as_a_try_of_the_content() -> None:
    here = world(a=4)
    here.arrive(A)
    for turn in range(12):
        here.answer(A, fail=True, passing=turn % 3 == 2)
        here.now = here.core.next_wakeup()
        here.say(ev.Tick())
    assert not here.core.entries[A].given_up


def test_an_update_that_was_given_up_is_tried_again_when_a_person_says_so() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    for _ in range(4):
        here.answer(A, fail=True)
        here.now = min(here.now + 100.0, here.core.next_wakeup())
        here.say(ev.Tick())
    assert here.calls == {}
    assert here.core.next_wakeup() == math.inf
    assert here.say(ev.TryAgain(A)) == [fx.Load(A, 2, reload=True)]


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


def test_who_waits_for_the_unload_gets_the_content_that_was_good_when_the_newest_is_in_backoff() -> (
    None
):
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    here.arrive(A)
    assert here.say(ev.Unloaded(A))[1:] == [fx.Load(A, 1)]


def test_who_waits_for_the_unload_of_content_in_backoff_is_told_why() -> None:
    """What was good has no room any more beside what is pinned now."""
    here = world(a=6, b=5)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.answer(A, fail=True)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    request = here.arrive(A)
    here.answer(A)
    here.answer(A, fail=True)
    assert fx.Reject(request, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0) in here.log[-1][2]
    here.say(ev.Register(B, 5, 1, pinned=True))
    later = here.arrive(A)
    assert here.log[-1][2] == [fx.Reject(later, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]


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


# -- law 8


def test_illegal_events_raise_and_change_nothing() -> None:
    here = world(a=4, b=4)
    make_resident(here, A)
    waiting = here.arrive(B)
    for event in (
        ev.RequestArrived(waiting, A, math.inf),
        ev.Register(A, 4, 0),
        ev.Register(A, -1, 2),
        ev.Register(A, 4, 2, keep_alive=-1.0),
        ev.Register(A, 4, 2, keep_alive=math.inf),
        ev.Remove(D),
        ev.EvictRequested(D),
        ev.LoadSucceeded(A),
        ev.LoadSucceeded(B, -1),
        ev.LoadFailed(A, "no"),
        ev.Unloaded(A),
        ev.Verified(A, True),
        ev.UsageSeen(A, -1, 0.0),
        ev.Measured(A, -1),
        ev.Withhold(-1),
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
    assert here.core.statistics() == (4, 10, 1, 2, 0, 0)
    here.settle()
    assert here.core.statistics() == (8, 10, 0, 2, 1, 0)


def test_usage_of_what_is_not_in_memory_is_ignored() -> None:
    here = world(a=4)
    here.say(ev.UsageSeen(A, 5, 1.0))
    here.say(ev.UsageSeen(D, 5, 1.0))
    assert here.core.entries[A].in_flight == 0


def test_a_request_id_that_never_was_may_leave() -> None:
    assert world(a=4).say(ev.RequestLeft(RequestId(77))) == []
