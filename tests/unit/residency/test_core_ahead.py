"""Room made ahead of demand, and cold models loaded into room that is free anyway."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.shelf import Shelf
from overbook.residency.states import State
from tests.unit.residency.stories import LIMITS, A, B, C, state, world
from tests.unit.residency.world import World

AHEAD = replace(LIMITS, headroom=1.0)
MODELS = [ModelName(f"m{place}") for place in range(60)]


def crowd(models: int = 60, budget: int = 30) -> World:
    """Models of one byte, loaded one after the other, so that the memory is full but for the room made ahead."""
    here = World(budget, AHEAD)
    here.say(ev.ServerUp())
    for model in MODELS[:models]:
        here.say(ev.Register(model, 1, 1, warm=False))
    for model in MODELS[: budget + 3]:
        here.arrive(model)
        here.settle()
        here.now += 1.0
    here.say(ev.Tick())
    return here


def withdrawn(effects: list[fx.Effect]) -> list[Cause]:
    return [effect.cause for effect in effects if isinstance(effect, fx.Withdraw)]


def test_an_activation_finds_room_and_makes_some_for_the_next() -> None:
    here = crowd()
    assert here.core.ledger.free == 1
    cold = MODELS[50]
    here.arrive(cold)
    effects = here.log[-1][2]
    assert state(here, cold) is State.LOADING, "nobody had to leave first"
    assert withdrawn(effects) == [Cause.AHEAD]


def test_nobody_leaves_for_what_a_load_takes_for_a_moment() -> None:
    """It comes back when the load has ended, and is room enough for the next then."""
    here = World(100, AHEAD)
    here.say(ev.ServerUp())
    for model in MODELS:
        here.say(ev.Register(model, 15, 1, warm=False, peak=30))
    causes = []
    for model in MODELS:
        here.arrive(model)
        causes += withdrawn(here.log[-1][2])
        here.settle()
        here.now += 1.0
    assert Cause.AHEAD not in causes
    assert here.core.ledger.free == 10, (
        "six are in memory, and there is room for more than a twentieth"
    )


def test_without_activations_nothing_leaves() -> None:
    here = crowd()
    before = [model for model in MODELS if here.core.ledger.of(model)]
    for _ in range(200):
        here.now += 7.0
        here.say(ev.UsageSeen(before[0], 0, here.now))
        assert withdrawn(here.say(ev.Tick())) == []
    assert [model for model in MODELS if here.core.ledger.of(model)] == before


def test_who_was_used_since_the_last_activations_is_hotter_than_what_would_come() -> None:
    here = crowd()
    for model in MODELS:
        if here.core.ledger.of(model):
            here.say(ev.UsageSeen(model, 0, here.now))
    here.arrive(MODELS[50])
    assert withdrawn(here.log[-1][2]) == []


def test_where_nearly_everything_fits_no_room_is_made() -> None:
    here = crowd(models=33)
    assert here.core.ledger.free == 0


def test_models_kept_alive_do_not_leave_for_nobody() -> None:
    here = crowd()
    for model in MODELS:
        if here.core.ledger.of(model):
            here.say(ev.Register(model, 1, 1, keep_alive=1000.0))
    here.arrive(MODELS[50])
    assert withdrawn(here.log[-1][2]) == []


def test_a_request_puts_back_who_was_leaving_for_nobody() -> None:
    here = crowd()
    here.arrive(MODELS[50])
    leaving = next(model for model in MODELS if state(here, model) is State.DRAINING)
    request = here.arrive(leaving)
    assert here.log[-1][2][:2] == [fx.Publish(leaving), fx.Grant(request)]
    here.settle()
    assert state(here, leaving) is State.RESIDENT


def test_room_made_ahead_is_not_filled_with_cold_models() -> None:
    here = crowd()
    here.say(ev.Register(A, 1, 1, warm=True))
    assert state(here, A) is State.COLD
    assert here.core.ledger.free == 1


# -- into free room, hottest first


def test_after_a_start_the_hottest_come_first() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 5, 1, last_used=10.0))
    here.say(ev.Register(B, 5, 1, last_used=30.0))
    here.say(ev.Register(C, 5, 1, last_used=20.0))
    here.say(ev.ServerUp())
    here.settle()
    effects = [effect for _, _, told in here.log for effect in told]
    assert [effect.model for effect in effects if isinstance(effect, fx.Load)] == [B, C]


def test_pins_and_priorities_come_before_heat() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 5, 1, last_used=30.0))
    here.say(ev.Register(B, 5, 1, priority=1))
    here.say(ev.Register(C, 5, 1, pinned=True))
    here.say(ev.ServerUp())
    here.settle()
    assert [state(here, model) for model in (A, B, C)] == [
        State.COLD,
        State.RESIDENT,
        State.RESIDENT,
    ]


def test_a_larger_budget_brings_back_who_was_used_last() -> None:
    here = world(budget=4, a=4, b=4, c=4)
    for model in (A, B, C):
        here.arrive(model)
        here.settle()
        here.now += 1.0
    here.say(ev.BudgetChanged(8))
    here.settle()
    assert [state(here, model) for model in (A, B, C)] == [
        State.COLD,
        State.RESIDENT,
        State.RESIDENT,
    ]


def test_a_budget_as_before_brings_back_nobody() -> None:
    here = world(budget=8, a=4, b=4, c=4)
    for model in (A, B, C):
        here.arrive(model)
        here.settle()
        here.now += 1.0
    here.say(ev.Remove(C))
    here.settle()
    here.say(ev.BudgetChanged(8))
    assert state(here, A) is State.COLD


def test_one_that_is_too_large_holds_up_no_smaller_one() -> None:
    here = World(10, LIMITS)
    here.say(ev.Register(A, 8, 1, last_used=30.0))
    here.say(ev.Register(B, 8, 1, last_used=20.0))
    here.say(ev.Register(C, 2, 1, last_used=10.0))
    here.say(ev.ServerUp())
    here.settle()
    assert [state(here, model) for model in (A, B, C)] == [
        State.RESIDENT,
        State.COLD,
        State.RESIDENT,
    ]


@pytest.mark.parametrize("models", [100, 3000])
def test_filling_looks_at_few_however_many_are_cold(
    models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(budget=10, a=8)
    here.arrive(A)
    here.settle()
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
