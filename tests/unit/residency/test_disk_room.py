"""Room on the disk and models that call others; the other laws of it are told in `stories/disk.txt`."""

from __future__ import annotations

import pytest

from overbook.residency import events as ev
from overbook.residency.core import Core, IllegalEvent
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.unit.residency.calling import A, B, C, Calling, D, E, F


def wanted(here: Calling, missing: int, *models: ModelName, waited: float = 0.0) -> None:
    """Files of one byte each."""
    files = tuple(ev.Files(1, (each,)) for each in models)
    here.say(ev.DiskRoomWanted(missing, files, here.now - waited))


def states(here: Calling) -> str:
    """The first letter of each."""
    return "".join(here.state(each).value[0] for each in (A, B, C, D, E, F))


def test_what_is_called_leaves_with_its_callers() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.resident(E, D, F)
    wanted(here, 1, A)
    here.rest()
    assert states(here) == "crccc" + "r"
    assert (here.causes[A], here.causes[E]) == (Cause.DISK, Cause.CALLEE)


def test_callers_leave_before_what_they_call() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.resident(E)
    wanted(here, 1, A, E)
    here.rest()
    assert (here.state(A), here.state(E)) == (State.RESIDENT, State.COLD)


def test_what_is_called_stays_while_a_caller_has_to() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.resident(E, F)
    here.say(ev.UsageSeen(E, 1, here.now))
    wanted(here, 1, A, F)
    assert (here.state(A), here.state(F)) == (State.RESIDENT, State.DRAINING)


def test_what_is_loaded_for_a_caller_that_is_waited_for_stays() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    wanted(here, 1, A, B, waited=100.0)
    request = here.ask(D)
    here.end_work(A)
    assert here.state(A) is State.RESIDENT
    here.rest()
    assert request not in here.waiting
    assert request not in here.refused


def test_a_request_puts_a_caller_back_with_what_it_calls_unless_the_wait_was_too_long() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1), patience=2.0)
    here.resident(E)
    wanted(here, 1, A)
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.DRAINING)
    granted = here.ask(E)
    assert granted in here.granted
    here.pass_on(granted)
    here.tick(1.0)
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.DRAINING)
    here.tick(2.0)
    late = here.ask(E)
    assert late in here.waiting
    assert (here.state(A), here.state(E)) == (State.DRAINING, State.DRAINING)
    here.rest()
    assert late not in here.waiting
    assert late not in here.refused


def test_who_is_waited_for_is_told_also_by_way_of_callers() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1))
    here.ask(D)
    assert [each for each in (A, B, C, D, E, F) if here.core.wanted(each)] == [A, B, C, D]


def test_what_leaves_for_good_is_told() -> None:
    here = Calling(10, (1, 1, 1, 1, 1, 1), patience=2.0)
    here.resident(A, F)
    assert not here.core.leaves_for_good(A, here.now)
    wanted(here, 1, A)
    assert here.state(A) is State.DRAINING
    assert not here.core.leaves_for_good(A, here.now), "a request would put it back"
    assert here.core.files_leaving(here.now) == (True,)
    here.tick(3.0)
    assert here.core.leaves_for_good(A, here.now)
    here.withdrawn(A)
    here.drained(A)
    wanted(here, 1, A, F)
    assert here.state(A) is State.UNLOADING
    assert here.core.leaves_for_good(A, here.now), "no request puts it back"
    assert here.core.files_leaving(here.now) == (True, False)
    wanted(here, 1, F)
    assert not here.core.leaves_for_good(A, here.now), "its files are in nobody's way"
    wanted(here, 0)
    assert here.core.files_leaving(here.now) == ()


@pytest.mark.parametrize(("missing", "size"), [(-1, 1), (1, -1)])
def test_less_than_no_room_cannot_be_wanted(missing: int, size: int) -> None:
    core = Core(budget=10)
    with pytest.raises(IllegalEvent, match="expected bytes, 0 or more"):
        core.handle(ev.DiskRoomWanted(missing, (ev.Files(size, (A,)),)), 1.0)
