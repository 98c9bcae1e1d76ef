"""Traces: equal by seed, of the announced shape."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from overbook.simulator.traces import KINDS, Shape, requests, sizes

BUDGET = 100


def shape(kind: str = "zipf", **other: float) -> Shape:
    given = {"models": 50, "requests": 4000, "mean_size": 10, **other}
    return Shape(
        kind=kind,
        models=int(given["models"]),
        requests=int(given["requests"]),
        mean_size=int(given["mean_size"]),
        alpha=given.get("alpha", 0.9),
        spread=given.get("spread", 0.0),
        drift=given.get("drift", 5.0),
        seed=int(given.get("seed", 1)),
    )


def asked(of: Shape) -> list[int]:
    return [request.model for request in requests(of, sizes(of, BUDGET), BUDGET)]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_equal_seeds_give_equal_traces_and_others_do_not(kind: str) -> None:
    drawn = [list(requests(s, sizes(s, BUDGET), BUDGET)) for s in (shape(kind), shape(kind))]
    assert drawn[0] == drawn[1]
    other = shape(kind, seed=2)
    assert list(requests(other, sizes(other, BUDGET), BUDGET)) != drawn[0]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_trace_has_the_announced_length_rate_and_models(kind: str) -> None:
    of = shape(kind)
    trace = list(requests(of, sizes(of, BUDGET), BUDGET))
    assert len(trace) == of.requests
    assert all(one.time <= two.time for one, two in pairwise(trace))
    assert trace[-1].time == pytest.approx(of.requests / of.rate, rel=0.1)
    assert {request.model for request in trace} <= set(range(of.models))


def test_zipf_is_skewed_as_told() -> None:
    counts = [count for _, count in Counter(asked(shape(requests=20_000))).most_common()]
    weights = [(rank + 1) ** -0.9 for rank in range(50)]
    assert counts[0] / 20_000 == pytest.approx(weights[0] / sum(weights), rel=0.1)
    even = [count for _, count in Counter(asked(shape(alpha=0.0))).most_common()]
    assert even[0] < 2 * even[-1]


def test_drift_changes_the_favourites() -> None:
    def favourites(part: list[int]) -> set[int]:
        return {model for model, _ in Counter(part).most_common(5)}

    still, drifting = asked(shape("drift", drift=0.0)), asked(shape("drift", drift=20.0))
    assert len(favourites(still[:1000]) & favourites(still[-1000:])) >= 4
    assert len(favourites(drifting[:1000]) & favourites(drifting[-1000:])) <= 2


def test_a_scan_reads_every_model_in_order() -> None:
    trace = asked(shape("scan"))
    first = 5 * 50
    assert trace[first : first + 100 : 2] == list(range(50))


def test_round_robin_is_just_more_than_fits() -> None:
    assert asked(shape("round-robin"))[:23] == [*range(11), *range(11), 0]
    everything = shape("round-robin", models=4)
    assert asked(everything)[:6] == [0, 1, 2, 3, 0, 1]


def test_sizes_are_all_alike_or_spread_around_the_mean_with_a_heavy_tail() -> None:
    assert set(sizes(shape(), BUDGET)) == {10}
    spread = sizes(Shape(models=5000, mean_size=1000, spread=1.5), 10**9)
    assert sum(spread) / 5000 == pytest.approx(1000, rel=0.3)
    assert max(spread) > 20 * 1000
    assert sorted(spread)[2500] < 500


def test_no_model_is_larger_than_the_budget() -> None:
    assert max(sizes(Shape(models=500, mean_size=1000, spread=2.0), 2000)) == 2000
    assert sizes(Shape(models=2, mean_size=1000, spread=0.0), 10) == (10, 10)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Shape(kind="random"), "trace 'random': expected one of daily, drift, round-robin"),
        (lambda: Shape(models=0), "models 0: expected a number above 0"),
        (lambda: Shape(rate=-1), "rate -1: expected a number above 0"),
        (lambda: Shape(alpha=-0.5), "alpha -0.5: expected 0 or more"),
    ],
)
def test_nonsense_is_refused(wrong: object, told: str) -> None:
    assert callable(wrong)
    with pytest.raises(ValueError, match=told):
        wrong()
