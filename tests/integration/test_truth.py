"""What is charged for models of every kind is what a process takes that holds nothing else.

The truth is found out by `bench.truth`, which shares nothing with the agent's way of measuring.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cases.truth import Outcome, compare, equals, most_at_once
from bench.instance import Instance, running
from bench.judgement import allowed_at_once, off, table
from bench.stage import Stage
from bench.truth import truths
from bench.zoo import make
from tests.integration.truth_models import PLANS, runtimes_in

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    cache = request.config.cache
    assert cache is not None
    with runtimes_in(Path(cache.mkdir("runtimes"))), Stage() as made:
        yield made


@pytest.fixture(scope="module")
def instance(stage: Stage) -> Iterator[Instance]:
    with running(stage.folder("up")) as started:
        yield started


@pytest.fixture(scope="module")
def outcome(stage: Stage, instance: Instance) -> Outcome:
    exhibits = make(stage.folder("zoo"), PLANS)
    found = truths(exhibits, repeats=1)
    outcome = compare(instance, exhibits, (3,), found, each=2)
    for each in exhibits:
        instance.control.delete("model", each.name)
    return outcome


def test_every_answer_is_right_beside_large_bodies(outcome: Outcome) -> None:
    assert outcome.tally.failures == []


def test_charges_are_the_truth(outcome: Outcome) -> None:
    wrong = {each.title: off(outcome.rows, each) for each in outcome.columns}
    assert not any(wrong.values()), f"{wrong}\n{table(outcome.rows, outcome.columns)}"


@pytest.mark.usefixtures("outcome")  # whose models are gone then
def test_as_many_are_in_memory_as_fit(stage: Stage, instance: Instance) -> None:
    exhibits = equals(stage, "forest", 3)
    sizes = [each.asked for each in truths(exhibits, repeats=1).values()]
    budget = int(6.5 * sum(sizes) / len(sizes))
    assert most_at_once(instance, exhibits, budget) == allowed_at_once(sizes, budget) == 6
