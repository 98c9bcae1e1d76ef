"""Models that are larger than the budget, and budgets that change, where an older content may stand in."""

from __future__ import annotations

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.states import State
from tests.unit.residency.beginnings import A, make_resident, state, world
from tests.unit.residency.world import World


def _refused() -> World:
    """Neither its newest content, of 7 bytes, nor the one before it, of 5, fits the budget."""
    here = world(a=5)
    make_resident(here, A)
    here.say(ev.Register(A, 11, 2))
    here.say(ev.BudgetChanged(4))
    here.drained(A)
    here.answer(A)
    here.say(ev.Register(A, 7, 2))
    assert state(here, A) is State.FAILED
    return here


def test_a_refused_model_whose_older_content_fits_again_is_served_by_it() -> None:
    here = _refused()
    here.say(ev.BudgetChanged(6))
    assert "needs 7 bytes" in here.core.entries[A].reason
    request = here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]
    assert fx.Grant(request) in here.say(ev.LoadSucceeded(A))


def test_a_budget_that_grows_while_the_older_content_loads_lets_the_newest_follow() -> None:
    here = _refused()
    here.say(ev.BudgetChanged(6))
    here.arrive(A)
    assert here.say(ev.BudgetChanged(20)) == []
    assert fx.Load(A, 2, reload=True) in here.say(ev.LoadSucceeded(A))


def test_who_was_held_back_and_became_smaller_is_not_refused_when_a_person_wants_it() -> None:
    here = world(a=11)
    assert state(here, A) is State.FAILED
    here.say(ev.HoldBack(A, 1, "it killed", here.now + 60.0))
    here.say(ev.Register(A, 4, 1))
    assert state(here, A) is State.FAILED
    assert here.say(ev.TryAgain(A)) == []
    assert state(here, A) is State.COLD
    here.say(ev.BudgetChanged(20))
    assert state(here, A) is State.COLD
