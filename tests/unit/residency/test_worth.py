"""Worth: what saves most waiting per byte stays; learned, scan-proof, and as good as a sort of everything."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from overbook.residency.events import ModelName
from overbook.residency.policy import Standing
from overbook.residency.worth import Worth

A, B, C = (ModelName(name) for name in "abc")


def load(policy: Worth, model: ModelName, at: float, size: int = 10, seconds: float = 1.0) -> None:
    policy.place(model, Standing(0, at, size, seconds), used=True)


def order(policy: Worth) -> list[ModelName]:
    return list(policy.order(0.0))


def test_of_two_used_alike_the_one_that_is_slow_to_load_stays() -> None:
    policy = Worth()
    for model, seconds in ((A, 9.0), (B, 1.0)):
        policy.place(model, Standing(0, 1.0, 10, seconds), used=False)
    assert order(policy) == [B, A]


def test_of_two_used_alike_the_large_one_leaves() -> None:
    policy = Worth()
    load(policy, A, 1.0, size=100)
    load(policy, B, 1.0, size=10)
    assert order(policy) == [A, B]


def test_equals_leave_by_their_last_use_and_priority_goes_before_all() -> None:
    policy = Worth()
    for model, last_used in ((A, 2.0), (B, 1.0)):
        policy.place(model, Standing(0, last_used, 10, 1.0), used=False)
    assert order(policy) == [B, A]
    policy.place(B, Standing(1, 1.0, 10, 1.0), used=False)
    assert order(policy) == [A, B]


def test_who_comes_back_again_and_again_stays_when_a_scan_passes() -> None:
    policy, now = Worth(), 0.0
    regulars = [ModelName(f"regular{place}") for place in range(4)]
    strangers = [ModelName(f"stranger{place}") for place in range(40)]
    for _ in range(30):
        for model in (*regulars, A):
            now += 1.0
            load(policy, model, now)
            policy.discard(A)
    for model in strangers:
        now += 1.0
        load(policy, model, now)
        leaves = order(policy)[0]
        assert leaves in strangers
        if leaves != model:
            policy.discard(leaves)


def test_nothing_grows_old_while_nothing_is_loaded() -> None:
    policy = Worth()
    load(policy, A, 1.0)
    load(policy, B, 2.0)
    for second in range(100_000):
        load(policy, B, 3.0 + second)
    known = policy._known[B]
    assert (known.uses, known.again) == (1.0, True)
    assert sum(len(queue) for queue in policy._ages) <= 4


def test_what_is_forgotten_leaves_no_trace() -> None:
    policy = Worth()
    for model in (A, B, C):
        load(policy, model, 1.0)
    order(policy)
    for model in (A, B, C):
        policy.forget(model)
        policy.forget(model)
    assert order(policy) == []
    assert not policy._known
    assert not policy._cells


moves = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from(["use", "use", "use", "place", "discard", "forget", "look"]),
    st.integers(0, 2),
    st.integers(0, 30),
    st.sampled_from([0.0, 0.1, 1.0, 7.0]),
)


@given(st.lists(moves, max_size=80))
def test_the_merge_equals_a_sort_of_everything(
    done: list[tuple[str, str, int, int, float]],
) -> None:
    policy, residents = Worth(), set[str]()
    for now, (name, move, priority, size, seconds) in enumerate(done):
        model = ModelName(name)
        if move in ("use", "place"):
            standing = Standing(priority, float(now), size, seconds)
            policy.place(model, standing, used=move == "use")
            residents.add(name)
        elif move == "look":
            order(policy)
        else:
            getattr(policy, move)(model)
            residents.discard(name)
    ranked = order(policy)
    assert set(ranked) == residents
    assert len(ranked) == len(residents)
    worth = [
        (known.priority, policy._returns.rates[known.cell[1]] * known.seat[0])
        for known in (policy._known[model] for model in ranked)
        if known.cell is not None and known.seat is not None
    ]
    assert worth == sorted(worth)
    assert sum(known.bytes for known in policy._known.values()) == policy._bytes


def test_one_event_makes_only_so_many_models_older() -> None:
    """However many are known: else one large load would hold up everything."""
    policy = Worth()
    for place in range(3000):
        load(policy, ModelName(f"m{place}"), 1.0, size=1)
        policy.discard(ModelName(f"m{place - 10}"))
    before = [len(queue) for queue in policy._ages]
    load(policy, A, 2.0, size=1000)
    after = [len(queue) for queue in policy._ages]
    assert sum(abs(one - other) for one, other in zip(before, after, strict=True)) < 600


def test_it_never_hits_less_than_the_least_recently_used_would_by_much() -> None:
    """A plain cache of equal models under skewed requests: counts of misses, no core."""
    chance, policy = random.Random(3), Worth()
    names = [ModelName(f"m{place}") for place in range(200)]
    asked = chance.choices(names, [(place + 1) ** -0.9 for place in range(200)], k=6000)
    held, recent, misses, lru_misses = set[ModelName](), dict[ModelName, None](), 0, 0
    for now, model in enumerate(asked):
        if model not in held:
            misses += 1
            if len(held) == 40:
                leaves = next(policy.order(0.0))
                policy.discard(leaves)
                held.remove(leaves)
            held.add(model)
        load(policy, model, float(now))
        lru_misses += model not in recent
        recent.pop(model, None)
        recent[model] = None
        if len(recent) > 40:
            del recent[next(iter(recent))]
    assert misses < 0.9 * lru_misses
