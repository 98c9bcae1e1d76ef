"""Load times are a model's own when known, else by size; demand is a size and a pace, from the first load on."""

from __future__ import annotations

import math

import pytest

from overbook.residency.learned import Demand, LoadTimes


def test_before_any_load_larger_takes_longer() -> None:
    times = LoadTimes()
    assert 0.02 < times.expect(0) < 0.1
    assert times.expect(0) < times.expect(10**8) < times.expect(10**9)


def test_the_line_is_learned() -> None:
    times = LoadTimes()
    for turn in range(500):
        size = (turn % 10) * 10**7
        times.observe(size, 0.5 + size / 1e8, None)
    assert times.expect(0) == pytest.approx(0.5, rel=0.1)
    assert times.expect(10**8) == pytest.approx(1.5, rel=0.05)


def test_equal_sizes_tell_nothing_of_the_slope_and_harm_nothing() -> None:
    times = LoadTimes()
    for _ in range(2000):
        times.observe(10**6, 0.2, None)
    assert times.expect(10**6) == pytest.approx(0.2, rel=0.05)


def test_larger_that_took_less_does_not_make_times_negative() -> None:
    times = LoadTimes()
    for turn in range(1000):
        times.observe(10**9 if turn % 2 else 0, 0.01 if turn % 2 else 5.0, None)
    assert times.expect(10**12) > 0


def test_a_models_own_time_follows_its_loads() -> None:
    times = LoadTimes()
    own = times.observe(10, 3.0, None)
    assert own == 3.0
    for _ in range(20):
        own = times.observe(10, 1.0, own)
    assert own == pytest.approx(1.0, rel=0.01)


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
