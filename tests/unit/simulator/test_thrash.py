"""Thrash in virtual time: what it takes for granted, and what the core must make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from overbook.residency.replica import Limits
from overbook.simulator.command import bench
from overbook.simulator.thrash import BY_HAND, CROWDS, Crowd, Row, asked, compare, sizes


def rows(crowd: Crowd, policy: str = "worth") -> tuple[Row, Row]:
    by_hand, core = compare([crowd], [policy], Limits())
    assert (by_hand.driver, core.driver) == (BY_HAND, policy)
    return by_hand, core


def test_a_crowd_is_what_it_says() -> None:
    crowd = Crowd()
    held, requests = sizes(crowd), asked(crowd)
    assert len(held) == 60
    assert min(held) >= 100_000
    assert max(held) <= 30_000_000
    assert len(requests) == crowd.requests
    counts = sorted((requests.count(model) for model in set(requests)), reverse=True)
    assert 4 < counts[0] / counts[9] < 15, "Zipf: the tenth is asked for an eighth as often"
    assert sizes(replace(crowd, mixed=False)) != held
    assert len({crowd.name for crowd in CROWDS}) == len(CROWDS)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["worth", "lru"])
@pytest.mark.parametrize("crowd", CROWDS, ids=lambda crowd: crowd.name)
def test_under_thrash_the_core_serves_as_well_as_a_driver_by_hand(
    crowd: Crowd, policy: str
) -> None:
    """It knows no more than meters tell it, and waits for gateways: what it chooses better makes up for that."""
    by_hand, core = rows(replace(crowd, requests=2500), policy)
    assert core.rate >= 0.97 * by_hand.rate
    assert core.p99 <= 1.15 * by_hand.p99
    assert core.worst <= 2.0 * by_hand.worst
    assert core.mean <= 1.03 * by_hand.mean


@pytest.mark.slow
def test_where_sizes_differ_it_serves_more() -> None:
    by_hand, core = rows(replace(CROWDS[1], requests=2500))
    assert core.rate >= 1.1 * by_hand.rate


def test_the_command_prints_all_crowds() -> None:
    result = CliRunner().invoke(bench, ["thrash", "--requests", "60", "--policy", "lru"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2 + 2 * len(CROWDS)
    for word in (BY_HAND, "lru", "mixed sizes, 1 at once", "uniform sizes, 2 at once"):
        assert word in result.stdout
