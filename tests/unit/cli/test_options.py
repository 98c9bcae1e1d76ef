"""What people type as durations, quantities and kinds."""

from __future__ import annotations

import click
import pytest

from overbook.cli.options import parse_duration, parse_kind, parse_quantity


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("60s", 60), ("2m", 120), ("1.5h", 5400), ("7", 7), ("0.25", 0.25)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1 s", "1e3", "1m30s", "٣s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected one such as 500ms, 60s or 2m"):
        parse_duration(text)


def test_quantities() -> None:
    assert parse_quantity("2Gi") == 2 * 2**30
    for text in ("0", "2GB", "-1"):
        with pytest.raises(click.BadParameter, match="expected"):
            parse_quantity(text)


def test_kinds() -> None:
    assert [parse_kind(each) for each in ("model", "models", "Servers", "server")] == [
        "model",
        "model",
        "server",
        "server",
    ]
    with pytest.raises(click.BadParameter, match="expected models or servers"):
        parse_kind("pod")
