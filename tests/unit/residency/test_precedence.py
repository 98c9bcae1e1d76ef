"""The order of those who wait: by age, and among equals by work per cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overbook.residency.precedence import merit

MB = 1 << 20
counts = st.integers(1, 10_000)
ages = st.floats(0.0, 3600.0)
lengths = st.floats(0.001, 600.0)
bytes_ = st.integers(0, 1000 * MB)


@given(waiting=counts, age=ages, seconds=lengths, size=bytes_)
def test_more_waiting_goes_earlier_and_more_cost_later(
    waiting: int, age: float, seconds: float, size: int
) -> None:
    here = merit(waiting, age, seconds, size, 1000 * MB)
    assert here > 0
    assert merit(waiting + 1, age, seconds, size, 1000 * MB) >= here
    assert merit(waiting, age + 1.0, seconds, size, 1000 * MB) > here
    assert merit(waiting, age, seconds * 2, size, 1000 * MB) < here
    assert merit(waiting, age, seconds, size + MB, 1000 * MB) <= here


def test_of_those_that_came_together_the_cheapest_goes_first() -> None:
    small, large = merit(1, 0.5, 0.01, MB, 100 * MB), merit(1, 0.5, 0.15, 30 * MB, 100 * MB)
    assert small > large


def test_cost_makes_nobody_wait_more_than_about_twice_as_long() -> None:
    """The costliest of short loads, for one request, against the cheapest, for a hundred."""
    cheap = merit(100, 1.0, 0.005, 0, 100 * MB)
    assert merit(1, 2.2, 1.0, 100 * MB, 100 * MB) > cheap
