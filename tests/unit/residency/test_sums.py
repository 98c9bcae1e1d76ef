"""What an entry counts for in the sums: by its state, by what is under way, and by its pin."""

from __future__ import annotations

import pytest

from overbook.residency.effects import Cause
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, Ticket
from overbook.residency.ledger import Ledger
from overbook.residency.states import State
from overbook.residency.sums import Sums
from overbook.residency.under_way import Drain, Loading

A = ModelName("a")
LOADING = Loading(generation=1, size=4, peak=9, extra=3, overdraft=2, began=0.0)
DRAIN = Drain(Ticket(1), Cause.PRESSURE, deadline=60.0)


def _entry(state: State, *, pinned: bool = False) -> Entry:
    entry = Entry(A, 4, 1, pinned, 0, state=state, loaded_size=5)
    entry.loading = LOADING if state in (State.LOADING, State.RELOADING) else None
    entry.drain = DRAIN if state is State.DRAINING else None
    entry.unloading = Cause.PRESSURE if state is State.UNLOADING else None
    return entry


def _sums(charge: int) -> Sums:
    ledger = Ledger(20)
    ledger.charge(A, charge)
    return Sums(ledger)


@pytest.mark.parametrize(
    ("state", "returning", "idle", "held"),
    [
        (State.LOADING, 3, 0, 4),
        (State.RESIDENT, 0, 12, 12),
        (State.RELOADING, 3, 0, 4),
        (State.DRAINING, 12, 0, 0),
        (State.UNLOADING, 12, 0, 0),
    ],
)
def test_bytes_by_state(state: State, returning: int, idle: int, held: int) -> None:
    sums = _sums(12)
    assert sums.returning(_entry(state)) == returning
    assert sums.idle(_entry(state)) == idle
    assert sums.idle(_entry(state, pinned=True)) == 0
    assert sums.held_by_pin(_entry(state)) == 0
    assert sums.held_by_pin(_entry(state, pinned=True)) == held


@pytest.mark.parametrize("use", ["granted", "in_flight"])
def test_what_is_in_use_comes_back_only_when_it_is_idle(use: str) -> None:
    sums = _sums(12)
    for state in (State.DRAINING, State.RESIDENT):
        entry = _entry(state)
        setattr(entry, use, 1)
        assert sums.returning(entry) == sums.idle(entry) == 0


def test_an_entry_leaves_nothing_behind_when_it_is_taken_out() -> None:
    sums = _sums(12)
    for state in State:
        entry = _entry(state, pinned=state is State.RESIDENT)
        sums.put_in(entry)
        sums.take_out(entry)
        assert (sums.coming_back, sums.idle_bytes, sums.pinned_bytes) == (0, 0, 0)


def test_room_is_what_the_pins_of_others_leave() -> None:
    sums = _sums(12)
    pinned = _entry(State.RESIDENT, pinned=True)
    assert sums.put_in(pinned) == 12
    assert sums.room_for(pinned) == 20
    assert sums.room_for(Entry(ModelName("b"), 4, 1, False, 0)) == 8
