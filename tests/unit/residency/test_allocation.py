"""Who gets room, in which order, and that in the end everybody does: no deadlock, no starvation by the small."""

from __future__ import annotations

import random

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName, Ticket
from overbook.residency.replica import Limits
from overbook.residency.shelf import Shelf
from overbook.residency.states import State
from tests.unit.residency.world import LIMITS, World


def crowd(sizes: list[int], budget: int, limits: Limits) -> World:
    here = World(budget, limits)
    here.say(ev.ServerUp())
    for place, size in enumerate(sizes):
        here.say(ev.Register(ModelName(f"m{place}"), size, 1, warm=False))
    return here


def loads(here: World) -> list[ModelName]:
    return [e.model for _, _, effects in here.log for e in effects if isinstance(e, fx.Load)]


def grants(here: World) -> int:
    return sum(isinstance(e, fx.Grant) for _, _, effects in here.log for e in effects)


def test_twenty_cold_models_with_room_for_three_and_ten_waiters_each() -> None:
    here = crowd([3] * 20, 10, Limits())
    for _ in range(10):
        for place in range(20):
            here.arrive(ModelName(f"m{place}"))
    here.settle()
    assert grants(here) == 200
    assert sorted(loads(here)) == sorted(f"m{place}" for place in range(20)), "each loaded once"


@pytest.mark.parametrize("seed", range(8))
def test_models_of_all_sizes_that_do_not_fit_together_all_get_their_turn(seed: int) -> None:
    chance = random.Random(seed)
    limits = Limits(
        concurrent_loads=chance.randint(1, 4),
        lookahead=chance.randint(0, 3),
        unseen=chance.choice([0.0, 0.25]),
    )
    here = crowd([chance.randint(0, 20) for _ in range(15)], 20, limits)
    for _ in range(40):
        here.arrive(ModelName(f"m{chance.randrange(15)}"))
    here.settle()
    assert grants(here) == 40


def test_room_is_promised_in_order_of_arrival() -> None:
    here = crowd([5, 5, 5, 5], 10, Limits(concurrent_loads=2, lookahead=2, unseen=0))
    for place in range(4):
        here.arrive(ModelName(f"m{place}"))
    here.settle()
    assert loads(here) == ["m0", "m1", "m2", "m3"]


def test_a_large_model_that_must_wait_blocks_no_small_one_behind_it() -> None:
    here = crowd([6, 10, 4], 10, Limits())
    here.arrive(ModelName("m0"))
    here.answer(ModelName("m0"))
    here.arrive(ModelName("m1"))
    here.arrive(ModelName("m2"))
    assert here.core.entries[ModelName("m2")].state is State.LOADING
    here.settle()


def test_room_is_made_ahead_for_no_more_than_the_lookahead() -> None:
    """Early victims would have been hit meanwhile: the queue behind must wait before it evicts."""
    here = crowd([1] * 38, 32, Limits(concurrent_loads=1, lookahead=2))
    here.make_resident(*(ModelName(f"m{place}") for place in range(32)))
    for place in range(32, 38):
        here.arrive(ModelName(f"m{place}"))
    assert len(here.withdrawals) == 3
    here.drained(ModelName("m0"))
    here.answer(ModelName("m0"))
    assert here.core.entries[ModelName("m32")].state is State.LOADING
    assert len(here.withdrawals) == 2
    here.settle()


def test_where_few_fit_no_room_is_made_before_there_is_a_place() -> None:
    """A model is a large part of the memory there, and what left early is asked for again at once."""
    here = crowd([1] * 12, 6, Limits(concurrent_loads=1, lookahead=2))
    here.make_resident(*(ModelName(f"m{place}") for place in range(6)))
    for place in range(6, 12):
        here.arrive(ModelName(f"m{place}"))
    assert list(here.withdrawals) == ["m0"]
    here.drained(ModelName("m0"))
    here.answer(ModelName("m0"))
    assert here.core.entries[ModelName("m6")].state is State.LOADING
    assert not here.withdrawals
    here.settle()


def test_a_larger_victim_chosen_later_spares_the_smaller_one() -> None:
    here = crowd([3, 9, 0, 5], 12, Limits(concurrent_loads=1, lookahead=0))
    here.make_resident(ModelName("m0"), ModelName("m1"))
    for place in (2, 3):
        here.arrive(ModelName(f"m{place}"))
    assert not here.withdrawals, "m3 is not looked at before m2 is loaded"
    # The surprise would take m0; m3 needs m1, whose bytes are enough for both.
    effects = here.say(ev.LoadSucceeded(ModelName("m2"), measured=2))
    assert effects[-1:] == [fx.Withdraw(ModelName("m1"), Ticket(1), Cause.PRESSURE)]
    assert len(here.withdrawals) == 1
    here.calls.clear()
    here.settle()


def test_work_per_event_does_not_depend_on_how_many_wait_behind_a_busy_server() -> None:
    """A search for victims that was in vain is not repeated for each of the waiters."""
    here = crowd([4] * 3 + [9] * 30, 12, Limits())
    for place in range(3):
        here.arrive(ModelName(f"m{place}"))
        here.answer(ModelName(f"m{place}"))
        here.say(ev.UsageSeen(ModelName(f"m{place}"), 1, here.now))
    for place in range(3, 33):
        here.arrive(ModelName(f"m{place}"))
    assert not here.withdrawals
    here.settle()
    assert grants(here) == 33


def test_two_updates_that_wait_for_room_may_evict_each_other_but_not_themselves() -> None:
    here = crowd([5, 5], 11, Limits())
    here.make_resident(ModelName("m0"), ModelName("m1"))
    for place in range(2):
        here.say(ev.UsageSeen(ModelName(f"m{place}"), 1, here.now))
    for place in range(2):
        here.say(ev.Register(ModelName(f"m{place}"), 5, 2))
    assert not here.withdrawals
    here.say(ev.UsageSeen(ModelName("m0"), 0, here.now))
    assert list(here.withdrawals) == ["m0"], "m1 takes the room of the idle one"
    here.settle()


def test_who_was_promised_room_for_an_update_is_no_victim_for_the_next() -> None:
    here = crowd([3, 2, 2, 2], 11, Limits(concurrent_loads=4, lookahead=0, unseen=0))
    for place in range(4):
        here.arrive(ModelName(f"m{place}"))
    for place in (0, 2):
        here.say(
            ev.Register(ModelName(f"m{place}"), here.core.entries[ModelName(f"m{place}")].size, 2)
        )
    for place in range(3):
        here.answer(ModelName(f"m{place}"))
        here.pass_on()
    assert list(here.withdrawals) == ["m1"]
    assert here.core.entries[ModelName("m0")].state is State.RESIDENT
    here.settle()


@pytest.mark.parametrize("models", [100, 3000])
def test_filling_looks_at_few_however_many_are_cold(
    models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = crowd([8], 10, LIMITS)
    here.make_resident(ModelName("m0"))
    for place in range(models):
        here.core.handle(ev.Register(ModelName(f"x{place}"), 7, 1), here.now)
    taken: list[ModelName | None] = []
    take = Shelf.take

    def counted(shelf: Shelf) -> ModelName | None:
        model = take(shelf)
        if shelf is here.core._replica.warm:
            taken.append(model)
        return model

    monkeypatch.setattr(Shelf, "take", counted)
    here.core.handle(ev.BudgetChanged(11), here.now)
    assert 0 < len(taken) <= 16
