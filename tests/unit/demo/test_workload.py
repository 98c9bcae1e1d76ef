"""The traffic is skewed as it says, repeatable, and has its surges."""

from __future__ import annotations

from collections import Counter

import pytest

from overbook.demo.workload import (
    MEAN_SESSION_REQUESTS,
    SURGE_EVERY_SECONDS,
    SURGE_SECONDS,
    Workload,
    zipf_weights,
)

MODELS = tuple(f"model-{number}" for number in range(40))
QUIET = SURGE_SECONDS + 0.1


def test_zipf_weights_fall_by_rank_and_sum_to_one() -> None:
    weights = zipf_weights(40, 0.9)
    assert sum(weights) == pytest.approx(1.0)
    assert list(weights) == sorted(weights, reverse=True)
    assert weights[0] / weights[9] == pytest.approx(10**0.9)


def test_popularity_follows_the_ranks_and_not_the_names() -> None:
    workload = Workload(MODELS, seed=1)
    client = workload.client(0)
    seen = Counter(client.session(QUIET).model for _ in range(8000))
    first, *_, last = workload.ranked
    weights = zipf_weights(40, 0.9)
    assert seen[first] / 8000 == pytest.approx(weights[0], rel=0.15)
    assert 0 < seen[last] < seen[first] / 5
    assert set(workload.ranked) == set(MODELS)
    assert workload.ranked != MODELS


def test_sessions_are_as_long_as_they_say_on_average() -> None:
    client = Workload(MODELS, seed=2).client(0)
    lengths = [client.session(QUIET).requests for _ in range(3000)]
    assert min(lengths) == 1
    assert sum(lengths) / len(lengths) == pytest.approx(MEAN_SESSION_REQUESTS, rel=0.1)


def test_one_seed_one_traffic_and_clients_differ() -> None:
    one, same, other = (Workload(MODELS, seed=seed) for seed in (3, 3, 4))
    assert one.client(0).session(0.0) == same.client(0).session(0.0)
    assert one.ranked != other.ranked
    many = [[one.client(number).session(QUIET).model for _ in range(1)] for number in range(12)]
    assert len({tuple(models) for models in many}) > 1


def test_a_surge_brings_clients_to_one_model_of_the_tail() -> None:
    workload = Workload(MODELS, seed=5)
    surging = workload.surging(0.0)
    assert surging in workload.ranked[20:]
    assert workload.surging(SURGE_SECONDS - 0.01) == surging
    assert workload.surging(QUIET) is None
    assert {workload.surging(SURGE_EVERY_SECONDS * number) for number in range(20)} != {surging}
    client = workload.client(0)
    during = [client.session(0.0).model for _ in range(1000)].count(surging)
    outside = [client.session(QUIET).model for _ in range(1000)].count(surging)
    assert during > 300 > outside


def test_choices_stay_below_the_count() -> None:
    choices = Workload(MODELS, seed=6).client(0).choices(3)
    assert {next(choices) for _ in range(100)} == {0, 1, 2}


def test_no_models_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        Workload((), seed=0)
