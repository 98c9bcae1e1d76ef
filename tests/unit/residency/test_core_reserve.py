"""A load of unknown size is charged more until it ended, but never so much that it could not begin."""

from __future__ import annotations

from dataclasses import replace

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.stories import A, B, C, make_resident, state, world
from tests.unit.residency.world import World


def test_the_reserve_is_charged_while_it_loads_and_no_longer() -> None:
    here = world(budget=10, a=3)
    here.say(ev.Register(A, 3, 1, warm=False, reserve=7))
    here.arrive(A)
    assert here.core.ledger.of(A) == 7
    assert here.core.entries[A].size == 3, "placement and reports know nothing of it"
    here.say(ev.LoadSucceeded(A, measured=5))
    assert here.core.ledger.of(A) == 5


def test_without_a_measurement_the_charge_falls_to_the_size() -> None:
    here = world(budget=10)
    here.say(ev.Register(A, 3, 1, warm=False, reserve=7))
    make_resident(here, A)
    assert here.core.ledger.of(A) == 3


def test_room_is_made_for_the_reserve_so_that_its_true_size_is_no_deficit() -> None:
    here = world(budget=10, a=4, b=4)
    make_resident(here, A, B)
    here.say(ev.Register(C, 2, 1, warm=False, reserve=6))
    here.arrive(C)
    assert here.log[-1][2] == [fx.Withdraw(A, here.core.entries[A].ticket, Cause.PRESSURE)]
    here.drained(A)
    here.answer(A)
    here.say(ev.LoadSucceeded(C, measured=6))
    assert here.core.ledger.free == 0
    assert state(here, B) is State.RESIDENT


def test_no_reserve_makes_a_model_impossible_to_load() -> None:
    here = world(budget=10, a=4)
    here.say(ev.Register(A, 4, 1, pinned=True))
    make_resident(here, A)
    here.say(ev.Withhold(1))
    here.say(ev.Register(B, 2, 1, warm=False, reserve=1000))
    here.arrive(B)
    assert here.core.ledger.of(B) == 5, "beside what is pinned and withheld"
    here.answer(B)
    assert here.core.ledger.of(B) == 2


def test_what_a_pinned_model_reserves_refuses_nobody() -> None:
    here = world(budget=10, b=6)
    here.say(ev.Register(A, 3, 1, pinned=True, warm=False, reserve=9))
    here.arrive(A)
    request = here.arrive(B)
    assert here.log[-1][2] == [], "it waits; it is not told that there can be no room"
    assert fx.Load(B, 1) in here.say(ev.LoadSucceeded(A))
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(B))


def test_a_size_that_becomes_known_during_the_load_ends_the_reserve() -> None:
    here = world(budget=10)
    here.say(ev.Register(A, 3, 1, warm=False, reserve=8))
    here.arrive(A)
    here.say(ev.Register(A, 4, 1))
    assert here.core.ledger.of(A) == 4


def test_a_reload_reserves_beside_the_old_copy() -> None:
    here = world(budget=10, a=3)
    make_resident(here, A)
    here.say(ev.Register(A, 3, 2, reserve=100))
    assert here.core.ledger.of(A) == 10
    here.say(ev.LoadFailed(A, "no"))
    assert here.core.ledger.of(A) == 3


def test_a_larger_guess_during_the_load_is_taken_from_the_reserve() -> None:
    here = world(budget=4)
    here.say(ev.Register(A, 0, 1, warm=False, reserve=4))
    here.arrive(A)
    here.say(ev.Register(A, 1, 1, reserve=9))
    assert here.core.ledger.of(A) == 4


# -- what a load takes for a moment


def test_a_peak_is_charged_as_far_as_it_is_free_and_nobody_leaves_for_it() -> None:
    here = world(budget=10, a=4)
    make_resident(here, A)
    here.say(ev.Register(B, 3, 1, warm=False, peak=9))
    here.arrive(B)
    assert fx.Load(B, 1) in here.log[-1][2]
    assert here.core.ledger.of(B) == 6, "what there is"
    assert state(here, A) is State.RESIDENT
    here.say(ev.LoadSucceeded(B, measured=3))
    assert here.core.ledger.of(B) == 3


def test_loads_overdraw_one_at_a_time_or_within_the_slack() -> None:
    here = world(budget=12, limits=Limits(overdraft=2, patience=1e9, headroom=0))
    for model, peak in ((A, 8), (B, 8), (C, 5)):
        here.say(ev.Register(model, 4, 1, warm=False, peak=peak))
    here.arrive(A)
    assert here.core.ledger.of(A) == 8, "all of it is there"
    here.arrive(B)
    assert fx.Load(B, 1) in here.log[-1][2], "one may, whatever it takes"
    assert here.core.ledger.of(B) == 4
    here.arrive(C)
    here.say(ev.LoadSucceeded(A))
    assert fx.Load(C, 1) not in here.log[-1][2] or here.core.entries[C].overdraft <= 2
    here.say(ev.LoadSucceeded(B))
    assert state(here, C) is State.LOADING
    assert here.core.ledger.total <= 12


def test_what_would_overdraw_too_much_waits_for_the_other_load() -> None:
    here = world(budget=12, limits=Limits(overdraft=2, patience=1e9, headroom=0))
    for model in (A, B):
        here.say(ev.Register(model, 6, 1, warm=False, peak=12))
    here.arrive(A)
    here.say(ev.Register(C, 1, 1, warm=False))
    assert here.core.ledger.of(A) == 12
    here.arrive(B)
    assert state(here, B) is State.COLD, "its bytes are lent to the other one's peak"
    assert fx.Load(B, 1) in here.say(ev.LoadSucceeded(A))
    assert here.core.ledger.of(B) == 6


def test_a_peak_that_becomes_known_counts_from_the_next_load_on() -> None:
    here = world(budget=10, a=3)
    make_resident(here, A)
    here.say(ev.Register(A, 3, 1, peak=6))
    assert here.core.ledger.of(A) == 3
    here.say(ev.Register(A, 3, 2, peak=6))
    assert here.core.ledger.of(A) == 9, "beside the old copy"


def test_nobody_leaves_for_the_load_behind_one_that_takes_more_for_a_moment() -> None:
    """Its bytes come back when it ends: a model that left for them meanwhile would be missed for longer."""
    here = world(budget=10, limits=Limits(overdraft=0, headroom=0), a=4)
    make_resident(here, A)
    here.say(ev.Register(B, 3, 1, warm=False, peak=6))
    here.say(ev.Register(C, 3, 1, warm=False))
    here.arrive(B)
    assert here.core.ledger.of(B) == 6
    here.arrive(C)
    assert not here.withdrawals
    assert fx.Load(C, 1) in here.say(ev.LoadSucceeded(B))
    assert state(here, A) is State.RESIDENT


def test_what_loads_take_beyond_their_charge_is_told() -> None:
    here = world(budget=10, a=4)
    make_resident(here, A)
    here.say(ev.Register(B, 3, 1, warm=False, peak=9))
    here.arrive(B)
    assert here.core.ledger.of(B) == 6
    assert here.core.overdrawn == 3
    here.say(ev.LoadSucceeded(B))
    assert here.core.overdrawn == 0


def test_what_a_load_only_reserves_comes_back_and_so_nobody_is_withdrawn_for_it() -> None:
    """A model was withdrawn beside such a load, and published again with the very next event: that broke a law."""
    limits = Limits(
        concurrent_loads=1, long_loads=1, lookahead=0, max_waiting=1, max_waiting_per_model=1
    )
    here = World(13, replace(limits, unseen=0.0, headroom=0.0, patience=0.5))
    here.say(ev.ServerUp())
    waiting = ModelName("e")
    for name, size, warm in (("a", 0, True), ("b", 0, False), ("d", 1, True), ("f", 0, True)):
        here.say(ev.Register(ModelName(name), size, 1, warm=warm, reserve=0))
    here.say(ev.Register(waiting, 0, 1, warm=False, reserve=4, load_seconds=25.0))
    for _ in range(2):
        here.answer(next(iter(here.calls)))
    here.say(ev.Register(A, 0, 2, reserve=0))
    here.say(ev.Register(A, 0, 2, reserve=9))
    here.answer(next(iter(here.calls)), measured=5)
    here.arrive(waiting)
    settled = [each for each in here.log[-1][2] if isinstance(each, fx.Withdraw | fx.Publish)]
    here.say(ev.Tick())
    assert [e for e in here.log[-1][2] if isinstance(e, fx.Withdraw | fx.Publish)] == [], settled


def test_room_that_was_made_for_what_a_model_takes_more_is_charged_in_the_same_moment() -> None:
    """In two steps another load would have it first."""
    here = world(budget=10, a=4, b=4, c=3)
    make_resident(here, A, B)
    here.say(ev.Withhold(4, owed=True))
    assert here.log[-1][2] == [fx.Withdraw(A, here.core.entries[A].ticket, Cause.SURPRISE)]
    here.drained(A)
    here.arrive(C)
    here.answer(A)
    assert state(here, C) is State.COLD, "the room is not its"
    here.say(ev.Measured(B, 8, withheld=0))
    assert here.core.ledger.of(B) == 8
    assert here.core.ledger.withheld == 0
    assert here.core.ledger.free == 2
