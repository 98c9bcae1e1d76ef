"""A policy by name, changed while models are in memory: who is there stays known, and the new order holds at once."""

from __future__ import annotations

import pytest

from overbook.manifests.specs import EVICTION_POLICIES
from overbook.residency.chosen import DEFAULT, POLICIES, ChosenOrder
from overbook.residency.events import ModelName
from overbook.residency.policy import Standing

LARGE, SMALL, GONE = (ModelName(name) for name in ("large", "small", "gone"))


def filled(policy: str) -> ChosenOrder:
    """The small one was used first, and the large one saves less waiting for its bytes."""
    order = ChosenOrder(policy)
    order.place(GONE, Standing(0, 0.0, 1, 1.0), used=True)
    order.place(SMALL, Standing(0, 1.0, 1, 1.0), used=True)
    order.place(LARGE, Standing(0, 2.0, 100, 1.0), used=True)
    order.discard(GONE)
    return order


def test_what_manifests_may_say_is_what_there_is() -> None:
    assert set(EVICTION_POLICIES) == set(POLICIES)
    assert EVICTION_POLICIES[0] == DEFAULT


def test_each_orders_in_its_own_way() -> None:
    assert list(filled("lru").order(3.0)) == [SMALL, LARGE]
    assert list(filled("worth").order(3.0)) == [LARGE, SMALL]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("lru", "worth", [LARGE, SMALL]),
        ("worth", "lru", [SMALL, LARGE]),
        ("lru", "lru", [SMALL, LARGE]),
    ],
)
def test_a_change_holds_at_once(before: str, after: str, expected: list[ModelName]) -> None:
    order = filled(before)
    order.choose(after)
    assert list(order.order(3.0)) == expected


def test_after_a_change_models_come_and_go_as_before() -> None:
    order = filled("worth")
    order.choose("lru")
    order.place(SMALL, Standing(0, 5.0, 1, 1.0), used=True)
    assert list(order.order(6.0)) == [LARGE, SMALL]
    order.discard(LARGE)
    order.forget(SMALL)
    order.forget(GONE)
    assert list(order.order(6.0)) == []
    order.choose("worth")
    assert list(order.order(6.0)) == []
