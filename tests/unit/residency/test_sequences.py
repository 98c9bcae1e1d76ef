"""A model that keeps state between the requests of a sequence is in use until that was idle for long."""

from __future__ import annotations

import math

import pytest

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core, IllegalEvent
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.residency.policy import LeastRecentlyUsed
from overbook.residency.replica import Limits
from overbook.residency.states import State

A, B, C = map(ModelName, "abc")


def resident(*models: ModelName, patience: float = 60.0, sequence: float = 2.0) -> Core:
    """Each was used at 10 s, in this order; only a keeps state."""
    core = Core(budget=4, limits=Limits(headroom=0.0, patience=patience), order=LeastRecentlyUsed())
    core.handle(ev.ServerUp(), 0.0)
    for name in (A, B, C):
        core.handle(
            ev.Register(name, 2, 1, warm=False, sequence_idle=sequence if name == A else 0.0), 0.0
        )
    for number, name in enumerate(models, 1):
        core.handle(ev.RequestArrived(RequestId(number), name, 99.0), 1.0)
        core.handle(ev.LoadSucceeded(name, 2, 0.1), 2.0)
        core.handle(ev.Passed(RequestId(number)), 2.0)
        core.handle(ev.UsageSeen(name, 0, 10.0), 10.0)
    return core


def withdrawn(effects: list[fx.Effect]) -> list[ModelName]:
    return [each.model for each in effects if isinstance(each, fx.Withdraw)]


def test_another_leaves_in_its_place() -> None:
    core = resident(A, B)
    assert withdrawn(core.handle(ev.RequestArrived(RequestId(9), C, 99.0), 11.0)) == [B]
    core = resident(A, B, sequence=0.0)
    assert withdrawn(core.handle(ev.RequestArrived(RequestId(9), C, 99.0), 11.0)) == [A]


def test_who_has_no_other_choice_waits_until_the_sequence_was_idle_for_long() -> None:
    core = resident(A, B)
    core.handle(ev.UsageSeen(B, 1, 10.0), 10.0)
    assert withdrawn(core.handle(ev.RequestArrived(RequestId(9), C, 99.0), 11.0)) == []
    assert core.next_wakeup() == 12.0
    core.handle(ev.UsageSeen(A, 0, 11.5), 11.5)
    assert withdrawn(core.handle(ev.Tick(), 12.0)) == []
    assert core.next_wakeup() == 13.5
    assert withdrawn(core.handle(ev.Tick(), 13.5)) == [A]


def test_whoever_waits_too_long_gets_its_room() -> None:
    core = resident(A, B, patience=0.5, sequence=50.0)
    core.handle(ev.UsageSeen(B, 1, 10.0), 10.0)
    core.handle(ev.RequestArrived(RequestId(9), C, 99.0), 11.0)
    (told,) = (e for e in core.handle(ev.Tick(), 11.6) if isinstance(e, fx.Withdraw))
    assert told.cause is Cause.FAIRNESS


def test_a_person_may_evict_it_all_the_same() -> None:
    core = resident(A)
    assert withdrawn(core.handle(ev.EvictRequested(A), 10.5)) == [A]
    core.handle(ev.Withdrawn(A, Ticket(1)), 10.5)
    core.handle(ev.Drained(A, Ticket(1)), 10.5)
    assert core.entries[A].state is State.UNLOADING


def test_how_long_may_change() -> None:
    core = resident(A, B)
    core.handle(ev.Register(A, 2, 1, sequence_idle=0.0), 10.0)
    assert withdrawn(core.handle(ev.RequestArrived(RequestId(9), C, 99.0), 11.0)) == [A]


@pytest.mark.parametrize("idle", [-1.0, math.inf, math.nan])
def test_what_is_no_time_is_refused(idle: float) -> None:
    core = resident(A)
    with pytest.raises(IllegalEvent, match="sequence idle"):
        core.handle(ev.Register(A, 2, 1, sequence_idle=idle), 11.0)
