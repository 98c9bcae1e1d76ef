"""Rows of models and servers: replicas that differ, sizes measured or declared, and missing fields."""

from __future__ import annotations

import pytest

from overbook.cli.rows import (
    MODEL_COLUMNS,
    SERVER_COLUMNS,
    WIDE_MODEL_COLUMNS,
    WIDE_SERVER_COLUMNS,
    model_row,
    server_rows,
    wide_model_row,
    wide_server_rows,
)
from overbook.cli.words import ago, milliseconds, plural
from overbook.client.http import JsonObject
from tests.unit.client.fake_overbook import model, server

NOW = 1_767_323_045.0 + 90  # 90 s after lastUsed in `model`


def replica(number: int, state: str, measured: int | None, name: str = "mlserver") -> JsonObject:
    return {
        "server": name,
        "replica": number,
        "state": state,
        "bytes": {"declared": 1024, "measured": measured, "charged": 0},
        "lastUsed": None,
    }


def with_replicas(*replicas: JsonObject) -> JsonObject:
    thing = model("iris")
    return {**thing, "status": {"conditions": [], "replicas": [*replicas]}}


def test_a_model_in_memory() -> None:
    assert model_row(model("iris"), NOW) == (
        "iris",
        "True",
        "resident",
        "mlserver/0",
        "100KiB",
        "no",
        "90s ago",
        "",
    )


def test_replicas_that_differ() -> None:
    row = model_row(
        with_replicas(
            replica(0, "resident", 4096), replica(1, "cold", None), replica(0, "cold", None, "big")
        ),
        NOW,
    )
    assert row[1:7] == (
        "Unknown",
        "2 cold, 1 resident",
        "mlserver/0,1 big/0",
        "4KiB",
        "no",
        "never",
    )


def test_nothing_declared_and_nothing_measured_is_a_dash() -> None:
    silent = replica(0, "cold", None)
    silent["bytes"] = {"declared": None, "measured": None, "charged": 0}
    thing: JsonObject = {**with_replicas(silent), "spec": {"storageUri": "/m"}}
    assert model_row(thing, NOW)[4] == "-"


def test_a_model_in_memory_takes_what_it_is_charged() -> None:
    """Of one that is too small to be measured, 0 says nothing."""
    small = replica(0, "resident", 0)
    small["bytes"] = {"declared": None, "measured": 0, "charged": 4096}
    assert model_row(with_replicas(small), NOW)[4] == "4KiB"
    assert model_row(with_replicas(replica(0, "cold", 0)), NOW)[4] == "1KiB"


def test_a_model_without_a_place_shows_what_it_declares() -> None:
    assert model_row(with_replicas(), NOW)[2:5] == ("-", "-", "100KiB")


@pytest.mark.parametrize(
    "thing", [{}, {"metadata": 7, "status": []}, {"status": {"replicas": [{}]}}]
)
def test_missing_fields_are_no_error(thing: JsonObject) -> None:
    assert len(model_row(thing, NOW)) == len(MODEL_COLUMNS)
    assert len(wide_model_row(thing, {}, NOW)) == len(WIDE_MODEL_COLUMNS)
    assert all(len(row) == len(SERVER_COLUMNS) for row in server_rows(thing))
    assert all(len(row) == len(WIDE_SERVER_COLUMNS) for row in wide_server_rows(thing))


def test_a_server_without_replicas_says_so() -> None:
    assert server_rows({**server("s"), "status": {}})[0][:2] == ("s", "no replicas")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s ago"),
        (4, "4s ago"),
        (119, "119s ago"),
        (120, "2m ago"),
        (7500, "2h5m ago"),
        (10_800, "3h ago"),
        (200_000, "2d ago"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert ago(1000.0 - seconds, 1000.0) == text


def test_words() -> None:
    assert ago(None, 5.0) == "never"
    assert [milliseconds(each) for each in (0.000_35, 0.0123, 1.5, 12.34)] == [
        "0.35 ms",
        "12.3 ms",
        "1500 ms",
        "12.3 s",
    ]
    assert (plural(1, "model"), plural(2, "model")) == ("1 model", "2 models")


def test_a_model_that_nobody_has_loaded_yet_says_so() -> None:
    doubtful: JsonObject = {
        **model("iris"),
        "status": {
            "conditions": [{"type": "ModelReady", "status": "True", "reason": "ModelAvailable"}],
            "replicas": [{**replica(0, "cold", None), "unverified": "spec.verify is false"}],
        },
    }
    assert model_row(doubtful, NOW)[-1] == "unverified: spec.verify is false"
