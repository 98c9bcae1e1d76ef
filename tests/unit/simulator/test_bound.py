"""The bound: nobody beats it, and on small traces it is what can be worked out by hand."""

from __future__ import annotations

import random
from itertools import product

import pytest

from overbook.simulator.bound import least_added
from overbook.simulator.traces import Request


def trace(*models: int) -> list[Request]:
    return [Request(float(place), model) for place, model in enumerate(models)]


def one_second(size: int) -> float:
    return 1.0


def test_the_first_request_for_each_model_loads() -> None:
    assert least_added(trace(0, 1, 2), (1, 1, 1), 3, one_second) == pytest.approx(1.0)
    assert least_added(trace(0, 0, 0, 0), (1,), 1, one_second) == pytest.approx(0.25)
    assert least_added([], (), 1, one_second) == 0.0


def test_what_costs_most_for_its_bytes_stays() -> None:
    """Both are asked for twice, one byte fits: to keep the one that takes three seconds saves most."""
    seconds = {1: 1.0, 2: 3.0}
    waited = least_added(trace(0, 1, 0, 1), (1, 2), 2, lambda size: seconds[size])
    # 8 bytes x requests: the second one's interval takes 4 of them, the first one's 2.
    assert waited == pytest.approx((1 + 3) / 4)


def test_no_choice_of_what_stays_waits_less() -> None:
    """Every choice, tried out: a model stays until its next request or not; the budget holds at every moment."""
    chance = random.Random(5)
    for _ in range(60):
        asked = [chance.randrange(4) for _ in range(9)]
        sizes = tuple(chance.randint(1, 4) for _ in range(4))
        budget = chance.randint(3, 8)
        assert least_added(trace(*asked), sizes, budget, float) <= (
            _best(asked, sizes, budget) / len(asked) + 1e-9
        )


def _best(asked: list[int], sizes: tuple[int, ...], budget: int) -> float:
    intervals, last = [], dict[int, int]()
    for place, model in enumerate(asked):
        if model in last:
            intervals.append((last[model], place, sizes[model]))
        last[model] = place
    total = float(sum(sizes[model] for model in asked))
    best = total
    for kept in product((False, True), repeat=len(intervals)):
        chosen = [one for one, keep in zip(intervals, kept, strict=True) if keep]
        fits = all(
            sum(size for began, ends, size in chosen if began <= moment < ends) <= budget
            for moment in range(len(asked))
        )
        if fits:
            best = min(best, total - sum(size for _, _, size in chosen))
    return best
