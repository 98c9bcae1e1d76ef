"""Victim sets: enough, minimal, in eviction order; or nothing at all (law 2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.residency.events import ModelName
from overbook.residency.planning import Candidate, plan_victims


def candidates(*sizes: int) -> list[Candidate]:
    return [Candidate(ModelName(f"m{place}"), size) for place, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("shortfall", "sizes", "expected"),
    [
        (0, (5,), ()),
        (-3, (5,), ()),
        (5, (5, 5), (0,)),
        (6, (5, 5), (0, 1)),
        (8, (3, 8), (1,)),  # the first alone does not suffice, and is spared when the second does
        (10, (3, 4, 5, 6), (0, 1, 2)),
        (10, (3, 4, 5, 9), (0, 1, 2)),
        (13, (3, 4, 5, 9), (1, 3)),
        (9, (1, 2, 3, 4), (1, 2, 3)),
        (4, (0, 0, 4), (2,)),
        (11, (5, 5), None),
        (1, (), None),
        (1, (0,), None),
    ],
)
def test_examples(shortfall: int, sizes: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    chosen = plan_victims(shortfall, candidates(*sizes))
    if expected is None:
        assert chosen is None
    else:
        assert chosen == tuple(candidates(*sizes)[place] for place in expected)


def test_looks_no_further_than_needed() -> None:
    def endless() -> Iterator[Candidate]:
        while True:
            yield Candidate(ModelName("again"), 1)

    assert len(plan_victims(3, endless()) or ()) == 3


@given(st.integers(1, 40), st.lists(st.integers(0, 12), max_size=8))
def test_enough_and_minimal(shortfall: int, sizes: list[int]) -> None:
    offered = candidates(*sizes)
    chosen = plan_victims(shortfall, offered)
    if chosen is None:
        assert sum(sizes) < shortfall
        return
    total = sum(victim.size for victim in chosen)
    assert total >= shortfall
    assert all(total - victim.size < shortfall for victim in chosen)
    places = [offered.index(victim) for victim in chosen]
    assert places == sorted(places)
    # Never further down the order than a greedy choice would go.
    greedy = next(n for n in range(len(sizes) + 1) if sum(sizes[:n]) >= shortfall)
    assert places[-1] < greedy
