"""Sums kept step by step equal the sum of their parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.residency.events import ModelName
from overbook.residency.ledger import Ledger

A, B = ModelName("a"), ModelName("b")


def test_charges_are_set_and_not_added() -> None:
    ledger = Ledger(10)
    ledger.charge(A, 4)
    ledger.charge(B, 3)
    ledger.charge(A, 5)
    assert (ledger.total, ledger.free) == (8, 2)
    assert dict(ledger.charges) == {A: 5, B: 3}
    assert (ledger.of(A), ledger.of(ModelName("never"))) == (5, 0)


def test_free_is_negative_when_the_budget_shrank() -> None:
    ledger = Ledger(10)
    ledger.charge(A, 8)
    ledger.budget = 5
    assert ledger.free == -3


def test_a_model_of_no_bytes_is_on_the_books_until_released() -> None:
    ledger = Ledger(10)
    ledger.charge(A, 0)
    assert A in ledger.charges
    ledger.release(A)
    ledger.release(A)
    assert A not in ledger.charges
    assert ledger.total == 0


def test_charges_cannot_be_written_from_outside() -> None:
    with pytest.raises(TypeError):
        Ledger(10).charges[A] = 3  # type: ignore[index]  # that is the point


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9))))
def test_the_total_is_the_sum(moves: list[tuple[str, int | None]]) -> None:
    ledger = Ledger(100)
    for name, size in moves:
        if size is None:
            ledger.release(ModelName(name))
        else:
            ledger.charge(ModelName(name), size)
        assert ledger.total == sum(ledger.charges.values())
