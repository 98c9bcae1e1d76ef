"""The inference server is to be replaced: everything drains, who asks meanwhile waits, and the hot set comes back."""

from __future__ import annotations

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import Ticket
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.stories import A, B, C, make_resident, state, world


def test_all_models_drain_and_nothing_is_loaded_before_the_new_server() -> None:
    here = world(a=4, b=4)
    make_resident(here, A, B)
    effects = here.say(ev.Recycle())
    assert effects == [
        fx.Withdraw(A, Ticket(1), Cause.RECYCLED),
        fx.Withdraw(B, Ticket(2), Cause.RECYCLED),
    ]
    request = here.arrive(A)
    for model in (A, B):
        here.drained(model)
        here.answer(model)
    assert here.log[-1][2] == [fx.Evicted(B, Cause.RECYCLED)]
    here.say(ev.ServerDown())
    assert fx.Load(A, 1) in here.say(ev.ServerUp()), "somebody waits for it"
    here.settle()
    assert request in here.mirror.ended
    assert state(here, B) is State.RESIDENT, "it was hot"


def test_a_load_that_ends_after_that_leaves_like_the_others() -> None:
    here = world(a=4)
    here.arrive(A)
    here.say(ev.Recycle())
    assert fx.Withdraw(A, Ticket(1), Cause.RECYCLED) in here.say(ev.LoadSucceeded(A))
    assert here.say(ev.Withdrawn(A, Ticket(1))) == [], "its request goes through first"
    here.pass_on()
    assert here.settling == {A: Ticket(1)}


def test_who_was_leaving_for_another_leaves_for_good_and_the_removed_do_not_come_back() -> None:
    here = world(a=4, b=4, c=8)
    make_resident(here, A, B)
    here.say(ev.Remove(B))
    here.arrive(C)
    assert state(here, A) is State.DRAINING
    here.say(ev.Recycle())
    here.arrive(A)
    assert state(here, A) is State.DRAINING, "nobody puts it back"
    here.say(ev.Register(B, 4, 1))
    assert state(here, B) is State.DRAINING, "nor the same content, registered again"
    here.settle()


def test_a_removed_model_that_reloads_is_not_wanted_back() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Register(A, 4, 2))
    here.say(ev.Remove(A))
    here.say(ev.Recycle())
    here.say(ev.ServerDown())
    assert A not in here.core.entries


def test_a_server_that_is_down_already_needs_no_recycling() -> None:
    here = world(a=4)
    here.say(ev.ServerDown())
    assert here.say(ev.Recycle()) == []
    assert here.say(ev.ServerUp()) == []


def test_starved_is_who_would_fit_if_nothing_were_withheld() -> None:
    here = world(a=4, b=8)
    make_resident(here, A)
    assert not here.core.starved()
    here.say(ev.UsageSeen(A, 1, here.now))
    here.arrive(B)
    assert not here.core.starved(), "it waits for a model in use, not for lost bytes"
    here.say(ev.Withhold(5))
    assert here.core.starved()


def test_who_is_starved_holds_up_nobody() -> None:
    """Its room comes back with a new process. Until then what is there serves others, however long it has waited."""
    here = world(limits=Limits(patience=2.0), a=4, b=8)
    here.arrive(B)
    here.say(ev.Withhold(5))
    here.answer(B)
    here.pass_on(B)
    here.say(ev.EvictRequested(B))
    here.drained(B)
    here.answer(B)
    here.arrive(B)
    here.now += 5.0
    here.say(ev.Tick())
    here.arrive(A)
    here.answer(A)
    assert [here.model_of[request] for request in here.granted] == [A]
    assert here.core.starved()


def test_no_new_server_comes_before_the_end_of_the_old_one_was_told() -> None:
    here = world(a=4)
    here.say(ev.Recycle())
    here.say_illegal(ev.ServerUp())
