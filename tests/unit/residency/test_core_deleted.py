"""Stories of a model that is deleted and applied anew while something of it is still in memory, or on its way there.

What was deleted never answers under its old name again, whatever was under way when that was said.
"""

from __future__ import annotations

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import Ticket
from overbook.residency.states import State
from tests.unit.residency.beginnings import A, B, make_resident, state, world
from tests.unit.residency.world import World


def _reloading() -> World:
    """Generation 1 serves, generation 2 is being loaded beside it."""
    here = world(a=4)
    make_resident(here, A)
    assert here.say(ev.Register(A, 4, 2)) == [fx.Load(A, 2, reload=True)]
    return here


def test_what_was_loading_when_it_was_deleted_leaves_before_anybody_is_answered() -> None:
    here = world(a=4)
    here.arrive(A)
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 3, 2))
    request = here.arrive(A)
    assert here.say(ev.LoadSucceeded(A)) == [fx.Withdraw(A, Ticket(1), Cause.UPDATED)]
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.UPDATED), fx.Load(A, 2)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_the_same_content_applied_again_while_it_loads_answers() -> None:
    here = world(a=4)
    here.arrive(A)
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 1))
    request = here.arrive(A)
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_what_stood_in_for_a_newer_content_does_not_survive_its_deletion() -> None:
    """The load that is under way is of older content than what is applied again."""
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    here.answer(A)
    here.say(ev.Register(A, 11, 2))
    here.arrive(A)
    assert here.log[-1][2] == [fx.Load(A, 1)]
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 6, 2))
    request = here.arrive(A)
    assert here.say(ev.LoadSucceeded(A)) == [fx.Withdraw(A, Ticket(2), Cause.UPDATED)]
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.UPDATED), fx.Load(A, 2)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_a_model_deleted_while_it_reloads_loses_its_route_at_once() -> None:
    here = _reloading()
    assert here.say(ev.Remove(A)) == [fx.Withdraw(A, Ticket(1), Cause.REMOVED)]
    assert state(here, A) is State.RELOADING
    here.withdrawn(A)
    assert here.log[-1][2] == []
    assert here.say(ev.LoadSucceeded(A)) == [fx.Withdraw(A, Ticket(2), Cause.REMOVED)]
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.REMOVED), fx.Forgotten(A)]


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("suspect", [False, True])
def test_neither_of_two_deleted_copies_answers(fail: bool, suspect: bool) -> None:
    here = _reloading()
    here.say(ev.Remove(A))
    assert here.say(ev.Register(A, 4, 3)) == []
    request = here.arrive(A, suspect=suspect)
    assert here.log[-1][2] == []
    here.answer(A, fail=fail)
    assert here.log[-1][2] == [fx.Withdraw(A, Ticket(2), Cause.UPDATED)]
    here.drained(A)
    here.answer(A)
    assert here.log[-1][2] == [fx.Evicted(A, Cause.UPDATED), fx.Load(A, 3)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_of_two_deleted_copies_the_one_that_is_applied_again_answers() -> None:
    here = _reloading()
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 2))
    request = here.arrive(A)
    assert here.log[-1][2] == []
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]
    assert here.say(ev.EvictRequested(A)) == [fx.Withdraw(A, Ticket(2), Cause.REQUESTED)]


def test_a_server_that_dies_takes_what_was_deleted_with_it() -> None:
    here = _reloading()
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 3))
    request = here.arrive(A)
    here.say(ev.ServerDown())
    assert here.say(ev.ServerUp()) == [fx.Load(A, 3)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_a_server_that_is_recycled_waits_for_what_was_deleted() -> None:
    here = _reloading()
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 2))
    here.say(ev.Recycle())
    assert here.say(ev.LoadSucceeded(A)) == [
        fx.Publish(A),
        fx.Withdraw(A, Ticket(2), Cause.RECYCLED),
    ]


def test_an_old_copy_that_drains_is_put_back_only_where_it_is_what_was_applied() -> None:
    """The newest content of before has no room yet, so that it was never loaded; it is what is applied again."""
    here = world(a=6, b=4)
    make_resident(here, A, B)
    here.say(ev.Register(B, 4, 1, pinned=True))
    here.say(ev.Register(A, 7, 2))
    here.say(ev.Remove(A))
    assert here.say(ev.Register(A, 5, 2)) == []
    request = here.arrive(A)
    here.drained(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.UPDATED), fx.Load(A, 2)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]


def test_who_is_deleted_and_applied_twice_while_it_drains_is_not_put_back() -> None:
    here = world(a=4)
    make_resident(here, A)
    for _ in range(2):
        here.say(ev.Remove(A))
        assert here.say(ev.Register(A, 4, 2)) == []
    assert state(here, A) is State.DRAINING


def test_the_content_that_is_in_memory_is_put_back_whatever_came_between() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.Remove(A))
    here.say(ev.Register(A, 4, 2))
    here.say(ev.Remove(A))
    assert here.say(ev.Register(A, 4, 1)) == [fx.Publish(A)]


def test_what_is_being_unloaded_is_out_of_reach_already() -> None:
    here = world(a=4)
    make_resident(here, A)
    here.say(ev.EvictRequested(A))
    here.drained(A)
    here.say(ev.Remove(A))
    assert here.say(ev.Register(A, 4, 2)) == []
    request = here.arrive(A)
    assert here.say(ev.Unloaded(A)) == [fx.Evicted(A, Cause.REQUESTED), fx.Load(A, 2)]
    assert here.say(ev.LoadSucceeded(A)) == [fx.Publish(A), fx.Grant(request)]
