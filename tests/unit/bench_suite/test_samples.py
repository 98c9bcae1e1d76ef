"""Medians, percentiles, ratios and differences of repeated measurements."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.samples import Samples, differences, ratios

_VALUES = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=30)


def test_median_low_and_high() -> None:
    samples = Samples.of([5, 1, 3, 100])
    assert (samples.median, samples.low, samples.high) == (4.0, 1.0, 100.0)


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 5), (51, 6), (90, 9), (100, 10)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert Samples.of(range(10, 0, -1)).percentile(percent) == value


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percentile_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        Samples.of([1]).percentile(percent)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_values_that_say_nothing_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="samples"):
        Samples.of(values)


def test_times_changes_the_unit() -> None:
    assert Samples.of([1.5, 2]).times(1000) == Samples.of([1500, 2000])


def test_ratios_are_of_the_same_round() -> None:
    # A disturbed second round doubles both: the ratio stays.
    assert ratios(Samples.of([11, 22]), Samples.of([10, 20])).median == pytest.approx(1.1)


def test_ratios_of_unequal_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios(Samples.of([1, 2]), Samples.of([1]))


def test_a_ratio_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="zero"):
        ratios(Samples.of([1, 2]), Samples.of([1, 0]))


def test_differences_take_all_references_away() -> None:
    left = differences(Samples.of([30, 50]), Samples.of([2, 3]), Samples.of([10, 20]))
    assert left == Samples.of([18, 27])


@given(_VALUES)
def test_the_median_lies_between_the_extremes(values: list[float]) -> None:
    samples = Samples.of(values)
    assert samples.low <= samples.median <= samples.high
    assert samples.percentile(100) == samples.high


@given(_VALUES)
def test_a_contestant_equals_itself(values: list[float]) -> None:
    samples = Samples.of(values)
    assert set(ratios(samples, samples).values) == {1.0}
    assert set(differences(samples, samples).values) == {0.0}
