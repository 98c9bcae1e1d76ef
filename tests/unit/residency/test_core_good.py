"""Stories of updates that fail: until the new content was loaded once, what was loaded last stands for the model."""

from __future__ import annotations

import math
from dataclasses import replace

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Refusal
from overbook.residency.events import RequestId
from overbook.residency.states import State
from tests.unit.residency.stories import LIMITS, A, B, make_resident, state, world
from tests.unit.residency.world import World


def _failed_update(*, size: int = 4, other: int = 1) -> World:
    """Content 1 of A is resident, content 2 could not be loaded beside it. ``other``: bytes of B."""
    here = world(a=4, b=other)
    make_resident(here, A)
    here.say(ev.Register(A, size, 2, warm=False))
    here.answer(A, fail=True)
    return here


def _evict(here: World) -> None:
    here.say(ev.EvictRequested(A))
    here.drained(A)
    here.answer(A)


def test_an_eviction_brings_back_the_content_that_was_loaded_last() -> None:
    here = _failed_update()
    _evict(here)
    assert state(here, A) is State.COLD
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]
    here.answer(A)
    assert here.core.entries[A].reason == "cannot read 'a'"


def test_the_new_content_is_tried_again_beside_the_one_that_came_back() -> None:
    here = _failed_update()
    _evict(here)
    here.arrive(A)
    here.answer(A)
    here.now = here.core.next_wakeup()
    assert here.say(ev.Tick()) == [fx.Load(A, 2, reload=True)]
    here.answer(A)
    assert here.core.entries[A].reason == ""
    _evict(here)
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 2)]


def test_who_waits_for_a_swap_that_fails_is_served_by_the_old_content() -> None:
    here = world(a=7)
    make_resident(here, A)
    here.say(ev.Register(A, 7, 2))
    here.drained(A)
    here.answer(A)
    request = here.arrive(A)
    assert here.say(ev.LoadFailed(A, "bad")) == [fx.Load(A, 1)]
    here.calls[A].popleft()  # of the load that failed
    here.answer(A)
    assert fx.Grant(request) in here.log[-1][2]


def test_after_a_swap_that_failed_while_nobody_waits_the_old_content_comes_back() -> None:
    here = world(a=7)
    make_resident(here, A)
    here.say(ev.Register(A, 7, 2))
    here.drained(A)
    here.answer(A)
    assert here.say(ev.LoadFailed(A, "bad")) == [fx.Load(A, 1)]


def test_what_the_old_content_takes_is_charged_for_it() -> None:
    here = _failed_update(size=6, other=6)
    _evict(here)
    make_resident(here, B)
    here.arrive(A)
    assert here.core.ledger.of(A) == 4
    assert state(here, B) is State.RESIDENT


def test_a_new_content_without_room_leaves_the_old_one_to_come_back() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 11, 2))
    _evict(here)
    assert state(here, A) is State.COLD
    assert "needs 11 bytes" in here.core.entries[A].reason
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_room_for_the_new_content_ends_that() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 11, 2))
    _evict(here)
    here.say(ev.BudgetChanged(11))
    assert here.core.entries[A].reason == ""
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 2)]


def test_an_update_of_a_cold_model_that_never_fits_keeps_what_was_there() -> None:
    here = world(a=4)
    make_resident(here, A)
    _evict(here)
    here.say(ev.Register(A, 11, 2))
    assert state(here, A) is State.COLD
    here.say(ev.BudgetChanged(10))
    assert "needs 11 bytes" in here.core.entries[A].reason
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_old_content_that_fails_as_well_is_held_back_by_itself() -> None:
    here = _failed_update()
    _evict(here)
    request = here.arrive(A)
    here.answer(A, fail=True)
    assert here.log[-1][2] == [fx.Reject(request, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]
    soon = here.arrive(A)
    assert here.log[-1][2] == [fx.Reject(soon, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]
    here.now += 1.0
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_content_that_came_while_the_old_one_failed_is_tried_for_those_who_wait() -> None:
    here = _failed_update()
    _evict(here)
    here.arrive(A)
    here.say(ev.Register(A, 4, 3))
    here.answer(A, fail=True)
    assert here.log[-1][2] == [fx.Load(A, 3)]


def test_an_agent_that_begins_anew_is_told_what_was_good() -> None:
    here = world()
    here.say(ev.Register(A, 4, 1, warm=False, proven=True))
    here.say(ev.Register(A, 5, 2, warm=False))
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 2)]
    here.answer(A, fail=True)
    assert here.log[-1][2] == [fx.Load(A, 1)]
    here.answer(A)
    assert fx.Grant(request) in here.log[-1][2]


def test_which_content_a_load_would_take_is_told() -> None:
    here = _failed_update()
    assert here.core.stands_in(A) == 0, "it is in memory, and is tried anew beside that"
    _evict(here)
    assert here.core.stands_in(A) == 1


def test_old_content_that_is_held_back_stands_in_for_nobody() -> None:
    here = _failed_update()
    _evict(here)
    here.say(ev.HoldBack(A, 1, "it ended the process", here.now + 5.0))
    request = here.arrive(A)
    refusal = fx.Reject(request, Refusal.LOAD_FAILED, "it ended the process", 5.0)
    assert here.log[-1][2] == [refusal]
    here.now += 5.0
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_old_content_that_is_held_back_for_good_is_not_tried_by_itself() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 11, 2))
    _evict(here)
    here.say(ev.HoldBack(A, 1, "it ended the process"))
    assert here.core.next_wakeup() == math.inf
    here.arrive(A)
    assert here.log[-1][2] == [fx.Reject(RequestId(2), Refusal.LOAD_FAILED, "it ended the process")]


def test_a_pin_that_takes_the_room_of_the_old_content_tells_those_who_wait() -> None:
    """The new one would fit beside it, but is not tried again yet."""
    here = world(limits=replace(LIMITS, concurrent_loads=1), a=6, b=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2, warm=False))
    here.answer(A, fail=True)
    _evict(here)
    here.arrive(B)
    waiting = here.arrive(A)
    assert here.log[-1][2] == [], "one load at a time"
    effects = here.say(ev.Register(B, 5, 1, pinned=True))
    assert effects == [fx.Reject(waiting, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]


def test_a_person_is_told_why_the_newest_content_still_has_no_room() -> None:
    here = world(a=4, b=4)
    make_resident(here, B)
    here.say(ev.Register(B, 4, 1, pinned=True))
    make_resident(here, A)
    here.say(ev.Register(A, 7, 2))
    reason = here.core.entries[A].reason
    assert "7 bytes" in reason
    assert here.say(ev.TryAgain(A)) == []
    assert here.core.entries[A].reason == reason


def test_after_a_removal_nothing_older_stands_in() -> None:
    here = _failed_update()
    _evict(here)
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 3, warm=False))
    request = here.arrive(A)
    here.answer(A, fail=True)
    assert here.log[-1][2] == [fx.Reject(request, Refusal.LOAD_FAILED, "cannot read 'a'", 1.0)]


def test_a_removed_model_that_is_put_back_is_what_was_good() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 1))
    here.say(ev.Register(A, 4, 2, warm=False))
    here.answer(A, fail=True)
    _evict(here)
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_after_a_crash_the_old_content_comes_back() -> None:
    here = _failed_update()
    here.say(ev.ServerDown())
    assert here.say(ev.ServerUp()) == [fx.Load(A, 1)]


def _give_up(here: World) -> None:
    """The newest content of A fails until it is not tried any more."""
    while not here.core.entries[A].given_up:
        here.now = here.core.next_wakeup()
        here.say(ev.Tick())
        here.answer(A, fail=True)


def test_an_update_that_is_given_up_leaves_what_was_loaded_last_in_service() -> None:
    here = _failed_update()
    _give_up(here)
    _evict(here)
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]
    here.answer(A)
    assert fx.Grant(request) in here.log[-1][2]
    assert here.core.entries[A].given_up, (
        "a load of the older content says nothing for the newer one"
    )
    here.now += 1000.0
    assert here.say(ev.Tick()) == []


def test_a_person_has_an_update_tried_again_that_was_given_up() -> None:
    here = _failed_update()
    _give_up(here)
    assert here.say(ev.TryAgain(A)) == [fx.Load(A, 2, reload=True)]


def test_what_was_loaded_last_is_never_given_up_but_waits_between_tries() -> None:
    here = _failed_update()
    _give_up(here)
    _evict(here)
    for _ in range(6):
        here.arrive(A)
        here.answer(A, fail=True)
        refused = here.log[-1][2][-1]
        assert isinstance(refused, fx.Reject)
        assert refused.retry_after > 0.0
        here.now = here.core.next_wakeup()
    here.arrive(A)
    here.answer(A, fail=True)
    here.say(ev.TryAgain(A))
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 2)], "a person asked for it"


def test_where_both_do_not_fit_the_old_content_makes_way_once_for_each_try() -> None:
    here = world(a=7)
    make_resident(here, A)
    here.say(ev.Register(A, 7, 2))
    loads = []
    for _ in range(60):
        if here.calls.get(A):
            loading = here.core.entries[A].loading
            assert loading is not None
            loads.append(loading.generation)
            here.answer(A, fail=loads[-1] == 2)
        elif state(here, A) is State.DRAINING:
            here.drained(A)
            here.answer(A)
        else:
            here.now = min(here.core.next_wakeup(), here.now + 1000.0)
            here.say(ev.Tick())
    assert loads == [2, 1] * 4
    assert here.core.entries[A].given_up
    assert state(here, A) is State.RESIDENT
