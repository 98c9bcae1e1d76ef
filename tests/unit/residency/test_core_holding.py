"""A model that is held back for what it did: who waits is told, and nothing but a change or a person frees it."""

from __future__ import annotations

import math

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import IllegalEvent
from overbook.residency.effects import Refusal
from overbook.residency.states import State
from tests.unit.residency.stories import A, B, make_resident, state, world
from tests.unit.residency.world import World


def killed(here: World, until: float = math.inf) -> list[fx.Effect]:
    """The process ended, and A is held back for it."""
    here.say(ev.ServerDown())
    return here.say(ev.HoldBack(A, 1, "it ended the process", until))


def test_who_waits_is_refused_at_once_and_so_is_who_comes_later() -> None:
    here = world(a=4)
    waiting = here.arrive(A)
    refusal = fx.Reject(waiting, Refusal.LOAD_FAILED, "it ended the process")
    assert killed(here) == [refusal]
    assert state(here, A) is State.FAILED
    here.say(ev.ServerUp())
    later = here.arrive(A)
    assert here.log[-1][2] == [fx.Reject(later, Refusal.LOAD_FAILED, "it ended the process")]


def test_what_was_hot_does_not_come_back_while_it_is_held_back() -> None:
    here = world(a=4, b=4)
    make_resident(here, A, B)
    killed(here, until=here.now + 5.0)
    assert here.say(ev.ServerUp()) == [fx.Load(B, 1)]
    here.answer(B)
    here.now += 5.0
    assert here.say(ev.Tick()) == [fx.Load(A, 1)]


@pytest.mark.parametrize("size", [2, 4, 5])
def test_another_size_frees_nobody(size: int) -> None:
    here = world(a=4)
    killed(here)
    here.say(ev.ServerUp())
    assert here.say(ev.Register(A, size, 1)) == []
    here.arrive(A)
    assert isinstance(here.log[-1][2][0], fx.Reject)


def test_another_content_frees_it() -> None:
    here = world(a=4)
    killed(here)
    here.say(ev.ServerUp())
    assert here.say(ev.Register(A, 4, 2)) == [fx.Load(A, 2)]


def test_a_person_frees_it() -> None:
    here = world(a=4)
    killed(here)
    here.say(ev.ServerUp())
    here.say(ev.TryAgain(A))
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]


def test_what_was_loaded_last_stands_in_for_an_update_that_is_held_back() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.say(ev.ServerDown())
    here.say(ev.HoldBack(A, 2, "it ended the process"))
    assert here.say(ev.ServerUp()) == [fx.Load(A, 1)]


def test_a_content_that_nobody_would_load_any_more_is_not_worth_a_word() -> None:
    here = world(a=4)
    here.say(ev.Register(A, 4, 2, warm=False))
    here.say(ev.HoldBack(A, 1, "it ended the process"))
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 2)]


def test_what_is_in_memory_cannot_be_held_back() -> None:
    here = world(a=4)
    make_resident(here, A)
    with pytest.raises(IllegalEvent, match="resident"):
        here.core.handle(ev.HoldBack(A, 1, "why"), here.now)


def test_the_end_of_the_time_finds_nothing_of_a_model_that_is_gone() -> None:
    here = world(a=4)
    killed(here, until=here.now + 5.0)
    here.say(ev.ServerUp())
    here.say(ev.Remove(A))
    here.now += 5.0
    assert here.say(ev.Tick()) == []
    assert here.core.next_wakeup() == math.inf
