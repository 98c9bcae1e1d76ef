"""Rows of models and servers: replicas that differ, sizes measured or declared, and missing fields."""

from __future__ import annotations

import pytest

from overbook.cli.rows import (
    MODEL_COLUMNS,
    SERVER_COLUMNS,
    WIDE_MODEL_COLUMNS,
    WIDE_SERVER_COLUMNS,
    colour_of,
    model_row,
    server_rows,
    steady,
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


def fetched(number: int, done: int, state: str = "cold", total: int | None = 1000) -> JsonObject:
    transfer: JsonObject = {"done": done, "total": total, "bytesPerSecond": 0, "secondsLeft": None}
    return {**replica(number, state, None), "transfer": transfer, "filesOnDisk": False}


def test_a_model_that_waits_for_its_files_says_how_far_they_are() -> None:
    assert model_row(with_replicas(fetched(0, 456)), NOW)[2] == "fetching 45%"
    unknown = fetched(0, 3 * 2**29, total=None)
    assert model_row(with_replicas(unknown), NOW)[2] == "fetching 1.5GiB"
    assert model_row(with_replicas(fetched(0, 5, "resident")), NOW)[2] == "resident"
    several = with_replicas(fetched(0, 999), fetched(1, 12), replica(2, "resident", 5))
    assert model_row(several, NOW)[2] == "2 fetching 1%, 1 resident"
    assert (colour_of("fetching 45%"), colour_of("2 fetching 1%")) == ("cyan", "")


def test_why_it_is_not_ready_is_the_fetch_with_its_figures() -> None:
    def why(*parts: JsonObject, reason: str = "ModelProgressing") -> str:
        thing = model(
            "iris", ready=False, reason=reason, message="0 of 1 needed replicas available"
        )
        status = thing["status"]
        assert isinstance(status, dict)
        return model_row({**thing, "status": {**status, "replicas": [*parts]}}, NOW)[-1]

    running: JsonObject = {
        "done": 2**29,
        "total": 2**30,
        "bytesPerSecond": 2**20,
        "secondsLeft": 512,
    }
    part: JsonObject = {**replica(0, "cold", None), "transfer": running, "filesOnDisk": False}
    assert why(part) == "512MiB of 1GiB (50%), 1MiB/s, 8m left"
    unknown: JsonObject = {**running, "total": None, "secondsLeft": None}
    assert why({**part, "transfer": unknown}) == "512MiB so far, 1MiB/s"
    failed = why(part, reason="ModelFailed")
    assert failed.startswith("512MiB of 1GiB (50%), 1MiB/s, 8m left; ModelFailed: 0 of 1")
    assert why(fetched(0, 5, "resident")) == "ModelProgressing: 0 of 1 needed replicas available"
    # It is ready, and its files come back for a request.
    assert model_row(with_replicas(part), NOW)[-1].startswith("512MiB of 1GiB")
    wide = steady(WIDE_MODEL_COLUMNS, wide_model_row(with_replicas(part), None, NOW))
    assert wide[-1] == ""


def test_a_watch_says_how_far_a_fetch_is_by_quarters() -> None:
    def told(done: int, total: int | None = 1000) -> tuple[str, ...]:
        return steady(MODEL_COLUMNS, model_row(with_replicas(fetched(0, done, total=total)), NOW))

    assert told(10) == told(249)
    assert told(249) != told(250)
    assert told(10, None) == told(10_000, None)


def test_whether_files_are_on_the_disk() -> None:
    index = [column.title for column in WIDE_MODEL_COLUMNS].index("DISK")
    here: JsonObject = {**replica(0, "cold", None), "filesOnDisk": True}
    for parts, shown in (
        ([], "-"),
        ([here], "yes"),
        ([fetched(0, 5)], "no"),
        ([here, fetched(1, 5)], "1 of 2"),
    ):
        assert wide_model_row(with_replicas(*parts), None, NOW)[index] == shown


def test_what_a_servers_disk_holds() -> None:
    index = [column.title for column in WIDE_SERVER_COLUMNS].index("DISK")
    assert wide_server_rows(server("s"))[0][index] == "1.25GiB of 10GiB"
    assert wide_server_rows({})[0][index] == "-"
