"""The shelf: hottest first, whatever was put, dropped and put again."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from overbook.residency.events import ModelName
from overbook.residency.shelf import Heat, Shelf

A, B, C = (ModelName(name) for name in "abc")


def test_pinned_before_priority_before_last_use_before_arrival() -> None:
    shelf = Shelf()
    shelf.put(A, (False, 0, 5.0))
    shelf.put(B, (False, 1, -math.inf))
    shelf.put(C, (True, -1, -math.inf))
    shelf.put(ModelName("d"), (False, 0, 5.0))
    assert [shelf.take() for _ in range(5)] == [C, B, A, "d", None]


def test_the_last_word_counts() -> None:
    shelf = Shelf()
    shelf.put(A, (False, 0, 9.0))
    shelf.put(B, (False, 0, 5.0))
    shelf.put(A, (False, 0, 1.0))
    shelf.put(C, (False, 0, 7.0))
    shelf.drop(C)
    shelf.drop(C)
    assert [shelf.take() for _ in range(3)] == [B, A, None]


def test_it_tells_what_lies_on_it() -> None:
    shelf = Shelf()
    shelf.put(A, (False, 0, 1.0))
    shelf.put(B, (False, 0, 2.0))
    shelf.put(A, (False, 0, 3.0))
    shelf.drop(B)
    assert (len(shelf), list(shelf)) == (1, [A])
    assert A in shelf
    assert B not in shelf


def test_places_that_are_void_do_not_pile_up() -> None:
    shelf = Shelf()
    for turn in range(10_000):
        shelf.put(A, (False, 0, float(turn)))
    assert len(shelf._heap) < 200
    assert shelf.take() == A


heats = st.tuples(st.booleans(), st.integers(-1, 1), st.integers(0, 3).map(float))


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.none() | heats)))
def test_equals_a_sort_of_everything(moves: list[tuple[str, Heat | None]]) -> None:
    shelf, known = Shelf(), dict[ModelName, Heat]()
    for name, heat in moves:
        model = ModelName(name)
        known.pop(model, None)
        if heat is None:
            shelf.drop(model)
        else:
            shelf.put(model, heat)
            known[model] = heat
    assert set(shelf) == set(known)
    taken = [shelf.take() for _ in range(len(known))]
    assert taken == sorted(known, key=known.__getitem__, reverse=True) or [
        known[model] for model in taken if model is not None
    ] == sorted(known.values(), reverse=True)
    assert shelf.take() is None
