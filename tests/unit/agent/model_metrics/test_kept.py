"""Counters add up over a model's lives, gauges do not, and what is kept is bounded."""

from __future__ import annotations

import pytest

from overbook.agent.model_metrics.kept import Kept, Room
from overbook.metrics.families import Family, Series


def counter(value: float, **labels: str) -> Family:
    return Family(
        "rows", "counter", "Rows.", [Series("rows", tuple(sorted(labels.items())), value)]
    )


def gauge(value: float) -> Family:
    return Family("level", "gauge", "", [Series("level", (), value)])


def histogram(*counts: float, total: float) -> Family:
    bounds = ("0.5", "10.0", "+Inf")
    buckets = [
        Series("size_bucket", (("le", bound),), count)
        for bound, count in zip(bounds, counts, strict=True)
    ]
    rest = [Series("size_count", (), counts[-1]), Series("size_sum", (), total)]
    return Family("size", "histogram", "", [*buckets, *rest])


def see(kept: Kept, model: str, *families: Family) -> None:
    kept.see(model, {each.name: each for each in families})


def values(kept: Kept, model: str) -> dict[str, float]:
    return {
        each.name + "".join(f" {key}={value}" for key, value in each.labels): each.value
        for family in kept.families(model)
        for each in family.series
    }


@pytest.fixture
def kept() -> Kept:
    return Kept(Room())


def test_a_cold_models_counters_stay_and_go_on(kept: Kept) -> None:
    see(kept, "a", counter(5), gauge(7))
    assert values(kept, "a") == {"rows": 5, "level": 7}
    kept.end("a")
    assert values(kept, "a") == {"rows": 5}
    see(kept, "a", counter(2), gauge(1))
    assert values(kept, "a") == {"rows": 7, "level": 1}
    see(kept, "a", counter(3), gauge(0))
    assert values(kept, "a") == {"rows": 8, "level": 0}
    kept.end("a")
    kept.end("nobody")
    assert values(kept, "a") == {"rows": 8}


def test_a_counter_that_falls_began_anew(kept: Kept) -> None:
    see(kept, "a", counter(5))
    see(kept, "a", counter(1))
    assert values(kept, "a") == {"rows": 6}
    see(kept, "a")
    see(kept, "a", counter(2))
    assert values(kept, "a") == {"rows": 8}


def test_a_histogram_that_begins_anew_is_added_up_bucket_by_bucket(kept: Kept) -> None:
    see(kept, "a", histogram(1, 2, 3, total=-40))
    see(kept, "a", histogram(1, 2, 3, total=-41))
    assert values(kept, "a")["size_sum"] == -41
    see(kept, "a", histogram(0, 1, 1, total=2))
    assert values(kept, "a") == {
        "size_bucket le=0.5": 1,
        "size_bucket le=10.0": 3,
        "size_bucket le=+Inf": 4,
        "size_count": 4,
        "size_sum": -39,
    }
    [family] = kept.families("a")
    assert [each.labels for each in family.series[:3]] == [
        (("le", "0.5"),),
        (("le", "10.0"),),
        (("le", "+Inf"),),
    ]


def test_what_a_server_goes_on_with_is_not_counted_twice(kept: Kept) -> None:
    see(kept, "a", counter(5))
    kept.end("a")
    kept.begin("a", {"rows": counter(5)})
    assert values(kept, "a") == {"rows": 5}
    see(kept, "a", counter(9))
    assert values(kept, "a") == {"rows": 9}
    # And when it begins anew after all, nothing is lost.
    see(kept, "a", counter(1))
    assert values(kept, "a") == {"rows": 10}
    kept.end("a")
    kept.begin("a", {})
    see(kept, "a", counter(4))
    assert values(kept, "a") == {"rows": 14}


def test_a_process_ends_for_all(kept: Kept) -> None:
    see(kept, "a", counter(5))
    see(kept, "b", counter(6), gauge(1))
    kept.end_all()
    see(kept, "a", counter(5))
    assert (values(kept, "a"), values(kept, "b")) == ({"rows": 10}, {"rows": 6})


def test_gauges_are_not_guessed(kept: Kept) -> None:
    see(kept, "a", counter(5), gauge(1))
    kept.lose_sight()
    assert values(kept, "a") == {"rows": 5}


def test_another_kind_under_the_same_name_begins_at_nothing(kept: Kept) -> None:
    see(kept, "a", counter(5))
    kept.end("a")
    see(kept, "a", counter(1))
    see(kept, "a", Family("rows", "gauge", "", [Series("rows", (), 2.0)]))
    assert values(kept, "a") == {"rows": 2}


def test_who_is_forgotten_has_nothing(kept: Kept) -> None:
    see(kept, "a", counter(5))
    kept.forget("a")
    kept.forget("a")
    assert (kept.models, kept.families("a")) == (frozenset(), [])


def test_what_was_gives_way_to_what_is() -> None:
    kept = Kept(Room(model=3))
    for value in "wxyz":
        see(kept, "a", counter(1, of=value))
    assert values(kept, "a") == {"rows of=x": 1, "rows of=y": 1, "rows of=z": 1}
    see(kept, "a", gauge(1), counter(2, of="z"))
    assert values(kept, "a") == {"rows of=y": 1, "rows of=z": 2, "level": 1}


def test_who_left_longest_ago_gives_way_to_others() -> None:
    kept = Kept(Room(all=2))
    for model in "abc":
        see(kept, model, counter(1))
    assert kept.make_room() == []  # all of them are loaded
    kept.end("a")
    kept.end("b")
    see(kept, "b", counter(1))
    kept.end("b")
    see(kept, "d", counter(1))
    assert kept.make_room() == ["a", "b"]
    assert kept.models == {"c", "d"}
    assert kept.make_room() == []
