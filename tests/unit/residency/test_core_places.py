"""Whose load begins when: long loads hold up no short one, and who waits is served by age and by what it costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.stories import LIMITS, make_resident, state
from tests.unit.residency.world import World

SLOW = [ModelName(f"slow{place}") for place in range(6)]
QUICK = [ModelName(f"quick{place}") for place in range(6)]


def mixed(
    budget: int = 100, limits: Limits = LIMITS, *, known: bool = True, size: int = 10
) -> World:
    """Models that take 25 s and models that take 2 ms, all of one size; nothing is loaded."""
    here = World(budget, limits)
    here.say(ev.ServerUp())
    for names, seconds in ((SLOW, 25.0), (QUICK, 0.002)):
        for name in names:
            length = seconds if known else None
            here.say(ev.Register(name, size, 1, warm=False, load_seconds=length))
    return here


def loading(here: World) -> list[ModelName]:
    return [model for model in here.core.entries if state(here, model) is State.LOADING]


def test_two_slow_loads_hold_up_no_quick_one() -> None:
    here = mixed()
    for model in (*SLOW[:2], QUICK[0]):
        here.arrive(model)
    assert loading(here) == [*SLOW[:2], QUICK[0]]


def test_however_many_slow_ones_wait_quick_ones_pass_them() -> None:
    here = mixed()
    for model in (*SLOW, *QUICK):
        here.arrive(model)
    assert loading(here) == [*SLOW[:2], *QUICK[:2]]
    for model in QUICK[:4]:
        here.answer(model)
    assert loading(here) == [*SLOW[:2], *QUICK[4:]]
    for model in QUICK[4:]:
        here.answer(model)
    here.now += 25.0
    here.answer(SLOW[0], seconds=25.0)
    assert SLOW[2] in loading(here)
    here.settle()


def test_also_where_the_memory_is_full_and_patience_is_over() -> None:
    """No room is made or held for slow ones that have no place; a quick one gets what there is."""
    here = mixed(budget=40, limits=replace(LIMITS, patience=2.0))
    make_resident(here, *QUICK[:4])
    for model in SLOW[:4]:
        here.arrive(model)
    for model in tuple(here.withdrawals):
        here.drained(model)
        here.answer(model)
    assert loading(here) == SLOW[:2]
    here.now += 3.0
    here.say(ev.Tick())
    assert not here.withdrawals
    here.arrive(QUICK[5])
    (leaving,) = here.withdrawals
    here.drained(leaving)
    here.answer(leaving)
    assert QUICK[5] in loading(here)
    here.settle()


def test_a_slow_load_that_a_claim_would_have_to_wait_for_holds_up_no_quick_one() -> None:
    here = mixed(budget=40, limits=replace(LIMITS, patience=2.0))
    here.say(ev.Register(ModelName("huge"), 35, 1, warm=False, load_seconds=0.1))
    here.arrive(SLOW[0])
    here.arrive(ModelName("huge"))
    here.now += 2.0
    here.say(ev.Tick())
    here.arrive(QUICK[0])
    assert loading(here) == [SLOW[0], QUICK[0]]
    here.arrive(SLOW[1])
    assert SLOW[1] not in loading(here), "or the huge one would wait for ever"
    here.answer(SLOW[0], seconds=25.0)
    assert SLOW[1] not in loading(here)
    here.settle()


def test_loads_that_turn_out_to_take_long_give_their_places_back() -> None:
    here = mixed(known=False)
    for model in (*SLOW[:2], QUICK[0]):
        here.arrive(model)
    assert loading(here) == SLOW[:2]
    assert here.core.next_wakeup() == here.now + 1.0
    here.now += 1.0
    assert here.say(ev.Tick()) == [fx.Load(QUICK[0], 1)]


def test_a_server_on_which_every_load_takes_long_is_not_buried() -> None:
    """Of the places that mistaken guesses gave back only one is given away again at a time."""
    here = mixed(known=False)
    for model in (*SLOW, *QUICK):
        here.arrive(model)
    counts = []
    for _ in range(4):
        here.now += 1.0
        here.say(ev.Tick())
        counts.append(len(loading(here)))
    assert counts == [4, 5, 6, 7]
    here.settle()


def test_what_a_load_took_is_known_the_next_time() -> None:
    here = mixed(budget=20, known=False)
    here.arrive(SLOW[0])
    here.now += 25.0
    here.answer(SLOW[0], seconds=25.0)
    here.pass_on()
    here.now += 1.0
    here.say(ev.EvictRequested(SLOW[0]))
    here.drained(SLOW[0])
    here.answer(SLOW[0])
    here.arrive(SLOW[0])
    for model in QUICK[:2]:
        here.arrive(model)
    assert loading(here)[0] == SLOW[0]
    assert here.core._replica.takes_long(here.core.entries[SLOW[0]])


def test_where_all_places_are_taken_who_comes_waits_for_the_first_that_is_free() -> None:
    here = mixed(limits=replace(LIMITS, concurrent_loads=1, long_loads=1, lookahead=0))
    for model in (SLOW[0], QUICK[0], SLOW[1], QUICK[1]):
        here.arrive(model)
    assert loading(here) == [SLOW[0], QUICK[0]]
    here.answer(QUICK[0])
    assert loading(here) == [SLOW[0], QUICK[1]]
    here.settle()


def test_a_load_whose_callers_all_left_goes_on() -> None:
    here = mixed()
    request = here.arrive(SLOW[0])
    assert here.say(ev.RequestLeft(request)) == []
    here.now += 25.0
    assert here.say(ev.LoadSucceeded(SLOW[0])) == [fx.Publish(SLOW[0])]


def test_who_came_together_is_served_by_what_it_costs() -> None:
    here = World(100, replace(LIMITS, concurrent_loads=1))
    here.say(ev.ServerUp())
    for name, size, seconds in (("first", 1, 0.01), ("large", 50, 0.9), ("small", 2, 0.01)):
        here.say(ev.Register(ModelName(name), size, 1, warm=False, load_seconds=seconds))
    for name in ("first", "large", "small"):
        here.arrive(ModelName(name))
    here.answer(ModelName("first"))
    assert loading(here) == [ModelName("small")]


def test_who_waited_too_long_is_served_in_order_of_arrival() -> None:
    here = World(100, replace(LIMITS, concurrent_loads=1, patience=2.0))
    here.say(ev.ServerUp())
    for name, size, seconds in (("first", 1, 0.01), ("large", 50, 0.9), ("small", 2, 0.01)):
        here.say(ev.Register(ModelName(name), size, 1, warm=False, load_seconds=seconds))
    for name in ("first", "large", "small"):
        here.arrive(ModelName(name))
    here.now += 2.0
    here.answer(ModelName("first"))
    assert loading(here) == [ModelName("large")]


@pytest.mark.parametrize("waited_for", [0, 1])
def test_of_those_that_leave_the_one_that_is_waited_for_is_put_back(waited_for: int) -> None:
    """Both leave for fairness, and room for one of them is left over."""
    here = mixed(budget=30, limits=replace(LIMITS, patience=2.0))
    here.say(ev.Register(ModelName("huge"), 25, 1, warm=False))
    make_resident(here, *QUICK[:2])
    for model in QUICK[:2]:
        here.say(ev.UsageSeen(model, 1, here.now))
    huge = here.arrive(ModelName("huge"))
    here.now += 2.0
    here.say(ev.Tick())
    assert set(here.withdrawals) == set(QUICK[:2])
    here.arrive(QUICK[waited_for])
    for model in QUICK[:2]:
        here.say(ev.UsageSeen(model, 0, here.now))
    here.arrive(QUICK[3])
    here.arrive(QUICK[4])
    here.say(ev.RequestLeft(huge))
    assert state(here, QUICK[waited_for]) is State.RESIDENT
    here.settle()


def test_causes_of_victims_are_unchanged_by_their_place() -> None:
    here = mixed(budget=20)
    make_resident(here, *QUICK[:2])
    here.arrive(SLOW[0])
    assert here.log[-1][2] == [
        fx.Withdraw(QUICK[0], here.core.entries[QUICK[0]].ticket, Cause.PRESSURE)
    ]
