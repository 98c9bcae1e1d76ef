"""The comparison: who is measured by whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from overbook.residency.replica import Limits
from overbook.simulator.command import bench
from overbook.simulator.compare import CASES, CLAIRVOYANT, Case, closed, compare
from overbook.simulator.traces import Shape

SMALL = Case("small", Shape(models=40, requests=1500, rate=20.0, spread=0.5))


def test_seeing_the_future_beats_lru_and_nobody_beats_the_bound() -> None:
    ((lru, best),) = compare([SMALL], ["lru", CLAIRVOYANT], Limits())
    assert (lru.policy, best.policy) == ("lru", CLAIRVOYANT)
    assert lru.bound <= best.added < lru.added
    assert 0 < lru.hit_rate < best.hit_rate < 1


def test_shares_are_of_the_way_from_lru_to_the_best() -> None:
    ((lru, best),) = compare([SMALL], ["lru", CLAIRVOYANT], Limits())
    assert closed(lru, lru, best.added) == 0.0
    assert closed(best, lru, best.added) == 1.0
    assert closed(replace(lru, added=2 * lru.added), lru, 0.0) == pytest.approx(-1.0)
    assert closed(lru, lru, lru.added) is None


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("extra", [[], ["--markdown"]])
def test_the_command_prints_all_policies_asked_for(extra: list[str]) -> None:
    arguments = ["compare", "--trace", "60 models", "--policy", "worth", "--requests", "300"]
    result = CliRunner().invoke(bench, [*arguments, *extra])
    assert result.exit_code == 0, result.output
    for word in ("60 models", "lru", "worth", CLAIRVOYANT, "bound"):
        assert word in result.stdout


def test_an_unknown_trace_is_told_with_those_that_are_known() -> None:
    result = CliRunner().invoke(bench, ["compare", "--trace", "tides"])
    assert result.exit_code == 2
    assert "trace 'tides': expected one of zipf 0.6, zipf 0.9" in result.stderr
