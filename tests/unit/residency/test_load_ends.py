"""Answers about loads that nobody asked for are errors of the caller."""

from __future__ import annotations

from overbook.residency import events as ev
from tests.unit.residency.beginnings import A, make_resident, world


def test_a_model_that_is_not_in_memory_cannot_be_measured() -> None:
    here = world(a=4)
    here.say_illegal(ev.Measured(A, 3))
    here.say_illegal(ev.LoadSucceeded(A))
    here.say_illegal(ev.Unloaded(A))
    make_resident(here, A)
    here.say(ev.Measured(A, 3))
    here.say_illegal(ev.LoadFailed(A, "no"))
    here.say_illegal(ev.Unloaded(A))
