"""What took long is expected to take long; of the first nothing is known."""

from __future__ import annotations

from tests.unit.runtimes.plugins import plugin_module

COST = plugin_module("mlserver", "overbook_mlserver/prediction_cost.py")


def test_the_first_is_not_short_and_then_the_last_ones_tell() -> None:
    cost = COST.PredictionCost()
    assert not cost.is_short(1)
    cost.took(4, 0.0004)
    assert cost.is_short(4)
    assert cost.is_short(9)
    assert not cost.is_short(11), "0.1 ms for each element"


def test_what_takes_a_millisecond_however_little_it_is_asked_is_never_short() -> None:
    cost = COST.PredictionCost()
    cost.took(1000, 0.002)
    assert not cost.is_short(1)
    cost.took(1, 0.0002)
    assert cost.is_short(1)


def test_a_request_without_elements() -> None:
    cost = COST.PredictionCost()
    cost.took(0, 0.0001)
    assert cost.is_short(0)
