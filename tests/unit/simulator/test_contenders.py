"""The contenders do what their papers say, on examples small enough to follow, and like any policy keep no ghosts."""

from __future__ import annotations

import random

import pytest

from overbook.residency.events import ModelName
from overbook.residency.policy import EvictionOrder, Standing
from overbook.simulator.clairvoyant import Clairvoyant
from overbook.simulator.contenders import DecayingCounts, GreedyDualSizeFrequency, S3Fifo, Sieve
from overbook.simulator.policies import POLICIES
from overbook.simulator.traces import Request

A, B, C, D = (ModelName(name) for name in "abcd")


def use(policy: EvictionOrder, *models: ModelName, size: int = 1, seconds: float = 1.0) -> None:
    for model in models:
        policy.place(model, Standing(0, 0.0, size, seconds), used=True)


def order(policy: EvictionOrder, now: float = 0.0) -> str:
    return "".join(policy.order(now))


def test_sieve_spares_once_who_was_used() -> None:
    policy = Sieve()
    use(policy, A, B, C, A)
    assert order(policy) == "bca"
    policy.discard(B)  # the hand passes A, which is not spared again
    use(policy, D)
    assert order(policy) == "cda"


def test_s3_fifo_judges_newcomers_first_and_knows_who_returns() -> None:
    policy = S3Fifo()
    use(policy, A, B, C, A, A)
    assert order(policy)[0] == "b"
    policy.discard(B)
    use(policy, B)
    assert order(policy)[0] == "c", "B came back soon and is no newcomer"


def test_gdsf_weighs_uses_costs_and_bytes_and_lets_the_old_age() -> None:
    policy = GreedyDualSizeFrequency()
    use(policy, A, A)
    use(policy, B, seconds=5.0)
    use(policy, C, size=2)
    assert order(policy) == "cab"
    policy.discard(C)
    policy.discard(A)
    use(policy, C, seconds=4.0)
    assert order(policy) == "bc", "what left raised the bar for newcomers"


def test_decaying_counts_forget() -> None:
    policy = DecayingCounts(half_life=1.0)
    use(policy, A, A, A, B)
    assert order(policy) == "ba"
    for _ in range(12):
        use(policy, C)
        policy.discard(C)
    use(policy, B)
    assert order(policy) == "ab"


def test_the_clairvoyant_evicts_what_saves_least() -> None:
    trace = [Request(5.0, 0), Request(7.0, 1), Request(6.0, 2)]
    policy = Clairvoyant(trace, [A, B, C, D])
    use(policy, A, B, C, D)
    assert order(policy) == "dbca", "never again, then the farthest"
    use(policy, B, seconds=100.0)
    assert order(policy) == "dcab"
    assert order(policy, 5.5)[:2] in ("da", "ad"), "its only use is over"


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_names_each_resident_once_and_goes_by_priority(name: str) -> None:
    chance, policy, residents = random.Random(name), POLICIES[name](), set[ModelName]()
    names = [ModelName(f"m{place}") for place in range(12)]
    level = {model: place % 3 for place, model in enumerate(names)}
    for step in range(600):
        model = chance.choice(names)
        if chance.random() < 0.3:
            chance.choice((policy.discard, policy.forget))(model)
            residents.discard(model)
        else:
            standing = Standing(level[model], float(step), 3, 0.5)
            policy.place(model, standing, used=chance.random() < 0.8)
            residents.add(model)
        ranked = list(policy.order(float(step)))
        assert sorted(ranked) == sorted(residents)
        assert [level[one] for one in ranked] == sorted(level[one] for one in ranked)
