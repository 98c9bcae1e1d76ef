"""Demand: the size of a typical load and the pace of loads, from the first on."""

from __future__ import annotations

import math

import pytest

from overbook.residency.demand import Demand


def test_nothing_is_known_of_nothing() -> None:
    demand = Demand()
    assert (demand.size, demand.gap) == (0.0, math.inf)


def test_one_load_tells_a_size_and_two_a_pace() -> None:
    demand = Demand()
    demand.note(40, 10.0)
    assert (demand.size, demand.gap) == (40.0, math.inf)
    demand.note(40, 13.0)
    assert (demand.size, demand.gap) == (40.0, 3.0)


def test_the_newest_count_most() -> None:
    demand, now = Demand(), 0.0
    for _ in range(5):
        now += 100.0
        demand.note(10, now)
    for _ in range(50):
        now += 1.0
        demand.note(90, now)
    assert demand.size == pytest.approx(90, rel=0.01)
    assert demand.gap == pytest.approx(1.0, rel=0.2)
