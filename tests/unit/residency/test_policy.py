"""Eviction order: priority, then the time of the last use, whatever the order in which uses were reported."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from overbook.residency.events import ModelName
from overbook.residency.policy import LeastRecentlyUsed, Standing


def place(policy: LeastRecentlyUsed, name: str, priority: int, last_used: float) -> None:
    policy.place(ModelName(name), Standing(priority, last_used, 1, 1.0), used=True)


def order(policy: LeastRecentlyUsed) -> str:
    return "".join(policy.order(0.0))


def filled(*uses: tuple[str, int, float]) -> LeastRecentlyUsed:
    policy = LeastRecentlyUsed()
    for name, priority, last_used in uses:
        place(policy, name, priority, last_used)
    return policy


def test_the_longest_unused_leaves_first() -> None:
    policy = filled(("a", 0, 1.0), ("b", 0, 2.0), ("c", 0, 3.0))
    place(policy, "a", 0, 4.0)
    assert order(policy) == "bca"


def test_a_late_report_of_an_early_use_does_not_make_a_model_young() -> None:
    assert order(filled(("a", 0, 5.0), ("b", 0, 2.0), ("c", 0, 6.0))) == "bac"


def test_never_used_leaves_before_all_others() -> None:
    assert order(filled(("a", 0, 5.0), ("b", 0, -math.inf))) == "ba"


def test_equals_leave_in_order_of_arrival() -> None:
    assert order(filled(("a", 0, 1.0), ("b", 0, 1.0), ("c", 0, 0.0), ("d", 0, 1.0))) == "cabd"


def test_lower_priority_leaves_first_and_a_change_of_priority_moves_the_model() -> None:
    policy = filled(("a", 1, 1.0), ("b", 0, 9.0), ("c", -1, 99.0))
    assert order(policy) == "cba"
    place(policy, "c", 1, 0.5)
    assert order(policy) == "bca"


def test_discard_forgets_and_may_be_repeated() -> None:
    policy = filled(("a", 0, 1.0), ("b", 0, 2.0))
    policy.discard(ModelName("a"))
    policy.discard(ModelName("a"))
    assert order(policy) == "b"
    policy.discard(ModelName("b"))
    assert order(policy) == ""


def test_order_is_lazy() -> None:
    policy = filled(("a", 0, 1.0), ("b", 1, 2.0))
    assert next(policy.order(0.0)) == "a"


moves = st.tuples(
    st.sampled_from("abcdef"), st.integers(-1, 1), st.none() | st.integers(0, 5).map(float)
)


@given(st.lists(moves), st.booleans())
def test_equals_a_sort_of_everything(
    uses: list[tuple[str, int, float | None]], often: bool
) -> None:
    policy = LeastRecentlyUsed()
    model: dict[str, tuple[int, float, int]] = {}
    for serial, (name, priority, last_used) in enumerate(uses):
        if last_used is None:
            policy.discard(ModelName(name))
            model.pop(name, None)
        else:
            place(policy, name, priority, last_used)
            model[name] = (priority, last_used, serial)
        if often:
            order(policy)
    assert order(policy) == "".join(sorted(model, key=lambda name: model[name]))
