from __future__ import annotations

import pytest

from bench.judgement import (
    AT_REST,
    UNDER_LOAD,
    Charged,
    Column,
    Row,
    Tolerance,
    allowed_at_once,
    factors,
    farthest,
    off,
    table,
)

MB = 1_000_000
LARGE = Row("large", "forest", file=9 * MB, truth=10 * MB, first=11 * MB)
SMALL = Row("small", "linear", file=800, truth=4000, first=300_000)


def column(tolerance: Tolerance = AT_REST, **charged: int | None) -> Column:
    return Column("now", tolerance, {name: Charged(size, True) for name, size in charged.items()})


@pytest.mark.parametrize(
    ("tolerance", "edge"),
    [(AT_REST, 500_000 + 256 * 1024), (UNDER_LOAD, MB + 512 * 1024)],
)
def test_a_charge_may_be_off_by_a_share_and_some_bytes_either_way(
    tolerance: Tolerance, edge: int
) -> None:
    for sign in (1, -1):
        assert off([LARGE], column(tolerance, large=LARGE.truth + sign * edge)) == []
        assert off([LARGE], column(tolerance, large=LARGE.truth + sign * (edge + 1))) == ["large"]


def test_small_models_are_not_judged() -> None:
    wrong = column(large=10 * MB, small=5 * MB)
    assert off([LARGE, SMALL], wrong) == []
    assert factors([LARGE, SMALL], wrong) == [1.0]


def test_nothing_known_is_wrong_and_nothing_seen_is_not() -> None:
    assert off([LARGE], column(large=None)) == ["large"]
    assert factors([LARGE], column(large=None)) == []
    assert off([LARGE], column()) == []


def test_the_farthest_of_several() -> None:
    seen = [Charged(size, True) for size in (9, 14, 7)]
    assert farthest(seen, 10) == seen[1]
    assert farthest([*seen, Charged(None, True)], 10).bytes is None


def test_as_many_as_fit() -> None:
    assert allowed_at_once([5, 3, 4], 8) == 2
    assert allowed_at_once([5, 3, 4], 12) == 3
    assert allowed_at_once([5], 4) == 0


def test_the_table() -> None:
    rest = Column("rest", AT_REST, {"large": Charged(20 * MB, False), "small": Charged(0, True)})
    load = Column("load", UNDER_LOAD, {"large": Charged(10 * MB, True)})
    assert table([LARGE, SMALL], [rest, load]).splitlines() == [
        "| model | kind | file | truth | first | rest | load |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| large | forest | 9.00 | 10.00 | 11.00 | **(20.00)** | 10.00 |",
        "| small | linear | 0.00 | 0.00 | 0.30 | 0.00 | – |",
    ]
