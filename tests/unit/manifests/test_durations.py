"""Durations: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from overbook.manifests.durations import parse_seconds, parse_wait


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("90s", 90.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("2d", 172_800.0),
        ("0", 0.0),
        ("30", 30.0),
        (45, 45.0),
        (0.5, 0.5),
    ],
)
def test_meaning(value: str | int | float, expected: float) -> None:
    assert parse_seconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "m",
        "10 m",
        "10x",
        "-5",
        "-1",
        "1m!",
        "ten",
        "1e3",
        -1,
        float("nan"),
        float("inf"),
        10**400,
        True,
    ],
)
def test_refused(value: str | int | float) -> None:
    with pytest.raises(ValueError, match="is not a duration; expected a duration such as 90s"):
        parse_seconds(value)


@pytest.mark.parametrize("value", ["3651d", 1e12])
def test_for_ever_is_a_pin(value: str | float) -> None:
    with pytest.raises(ValueError, match="more than ten years; pin the model instead"):
        parse_seconds(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("90s", 90.0), ("1h", 3600.0), ("1ms", 0.001), (3600, 3600.0), (0.5, 0.5)],
)
def test_how_long_somebody_waits(value: str | float, expected: float) -> None:
    assert parse_wait(value) == expected


@pytest.mark.parametrize(
    "value", ["0", "0s", 0, -1, "3601s", "1h1ms", "2d", 1e12, 10**400, float("nan"), float("inf")]
)
def test_nobody_waits_for_no_time_or_for_hours(value: str | float) -> None:
    expected = "out of range; expected more than 0 seconds and at most 1h, such as 90s or 10m"
    with pytest.raises(ValueError, match=expected):
        parse_wait(value)


@pytest.mark.parametrize("value", ["soon", "", "-5s", True])
def test_what_is_no_duration_is_no_wait(value: str | bool) -> None:
    with pytest.raises(ValueError, match="is not a duration; expected a duration such as 90s"):
        parse_wait(value)
