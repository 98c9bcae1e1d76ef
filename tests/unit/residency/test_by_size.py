"""Models by the bytes that they need: the sum, and who needs more than so many."""

from __future__ import annotations

from overbook.residency.by_size import BySize
from overbook.residency.events import ModelName

A, B, C = (ModelName(name) for name in "abc")


def _three() -> BySize:
    sizes = BySize()
    for model, size in ((A, 4), (B, 9), (C, 7)):
        sizes.put(model, size)
    return sizes


def test_only_larger_ones_are_named_and_stay() -> None:
    sizes = _three()
    for _ in range(2):
        assert sizes.larger_than(4) == [B, C]
        assert sizes.larger_than(9) == []
        assert sizes.larger_than(-1) == [B, C, A]


def test_the_newest_size_counts() -> None:
    sizes = _three()
    sizes.put(B, 1)
    assert sizes.total == 12
    assert sizes.larger_than(3) == [C, A]


def test_who_is_dropped_is_counted_no_more() -> None:
    sizes = _three()
    sizes.drop(B)
    assert sizes.total == 11
    assert sizes.larger_than(0) == [C, A]
