from __future__ import annotations

from overbook.gateway.snapshot.names import PlaceCount
from overbook.gateway.usage import UsageBook

KEY = ("iris", 0)


def test_only_changes_are_told() -> None:
    book = UsageBook()
    assert book.take_in({KEY: PlaceCount(3, 1)}) == [(KEY, 1, 3)]
    assert book.take_in({KEY: PlaceCount(3, 1)}) == []
    assert book.take_in({KEY: PlaceCount(3, 0)}) == [(KEY, 0, 0)]
    assert book.take_in({KEY: PlaceCount(9, 2)}) == [(KEY, 2, 6)]
    assert book.counts == {KEY: PlaceCount(9, 2)}


def test_counters_that_begin_again() -> None:
    book = UsageBook()
    book.take_in({KEY: PlaceCount(100, 0)})
    assert book.take_in({KEY: PlaceCount(4, 0)}) == [(KEY, 0, 4)]


def test_a_place_that_vanished_has_nothing_in_flight() -> None:
    book = UsageBook()
    book.take_in({KEY: PlaceCount(1, 1)})
    assert book.take_in({}) == [(KEY, 0, 0)]
    assert book.take_in({}) == []


def test_hot_requests_are_those_that_nothing_else_explains() -> None:
    book = UsageBook()
    book.explain("iris", 3)
    assert book.hot_share("iris", 2) == 0
    assert book.hot_share("iris", 5) == 4
    assert book.hot_share("iris", 5) == 5
    assert book.hot_share("other", 1) == 1
