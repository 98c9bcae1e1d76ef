"""`overbook events --audit`: what is asked for, and what is shown of it."""

from __future__ import annotations

import json

import pytest

from overbook.cli.audit_rows import audit_rows
from overbook.client.http import Json
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, audited, event

REFUSED: dict[str, Json] = {
    "who": "unknown",
    "token": None,
    "role": None,
    "address": "203.0.113.9",
    "status": 401,
    "outcome": "refused",
    "before": None,
}


def test_a_table_of_who_did_what(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.audited = [audited(1, "iris"), audited(2, "wine", **REFUSED)]
    lines = overbook("events", "--audit").stdout.splitlines()
    assert lines[0].split() == ["TIME", "WHO", "FROM", "WHAT", "GEN", "OUTCOME"]
    assert lines[1].split()[2:] == ["me", "(admin)", "local", "delete", "model/iris", "3→-", "done"]
    assert lines[2].split()[2:] == [
        "(unknown)",
        "203.0.113.9",
        "delete",
        "model/wine",
        "-",
        "refused",
        "401",
    ]


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ({}, ["me (admin)", "local", "delete model/iris", "3→-", "done"]),
        (
            {"who": "anyone", "token": None},
            ["(anyone)", "local", "delete model/iris", "3→-", "done"],
        ),
        (
            {"verb": "apply", "before": 1, "after": 2, "outcome": "configured"},
            ["me (admin)", "local", "apply model/iris", "1→2", "configured"],
        ),
        (
            {"verb": "pin", "before": 2, "after": 2},
            ["me (admin)", "local", "pin model/iris", "2", "done"],
        ),
        (
            {"verb": "apply", "kind": "", "name": "", "before": None, "unchanged": 7},
            ["me (admin)", "local", "apply, 7 unchanged", "-", "done"],
        ),
        (
            {"verb": "", "call": "POST /nowhere", "kind": "", "name": "", "before": None}
            | {"status": 404, "outcome": "failed"},
            ["me (admin)", "local", "POST /nowhere", "-", "failed 404"],
        ),
        (
            {"verb": "create", "kind": "Token", "name": "", "before": None, "status": None}
            | {"outcome": "unanswered"},
            ["me (admin)", "local", "create token", "-", "unanswered"],
        ),
        (
            {"verb": "apply", "outcome": "failed", "after": 3},
            ["me (admin)", "local", "apply model/iris", "3", "failed"],
        ),
    ],
)
def test_one_row(fields: dict[str, Json], cells: list[str]) -> None:
    (row,) = audit_rows({**audited(1, "iris"), **fields})
    assert row[1:] == cells


def test_what_is_missing_is_a_row_of_its_own() -> None:
    missing, _ = audit_rows(audited(5, "iris", lost=12))
    assert missing[3:] == ["12 entries could not be written", "-", "lost"]
    assert next(audit_rows({}))[0] == "-"


def test_it_fits_the_terminal_and_moves_no_cursor(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overbook.cli.terminal.terminal_width", lambda: 80)
    evil = "\x1b[2J" + "x" * 250
    address = "2001:db8:1111:2222:3333:4444:5555:6666"
    fake.audited = [audited(1, evil, token="y" * 63, address=address, call=evil)]
    said = overbook("events", "--audit").stdout
    assert max(map(len, said.splitlines())) <= 80
    assert all(each.isprintable() or each == "\n" for each in said)


def test_json_is_one_entry_a_line(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.audited = [audited(1, "iris"), audited(2, "wine")]
    lines = overbook("events", "--audit", "-o", "json").stdout.splitlines()
    assert [json.loads(each) for each in lines] == fake.audited
    (line,) = overbook("events", "--audit", "--model", "wine", "-o", "json").stdout.splitlines()
    assert json.loads(line)["seq"] == 2


def test_what_was_asked_for_comes_page_by_page(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.audited = [audited(each, f"m{each}") for each in range(1, 8)]
    fake.page = 3

    def shown(*more: str) -> list[int]:
        lines = overbook("events", "--audit", "-o", "json", *more).stdout.splitlines()
        return [json.loads(each)["seq"] for each in lines]

    assert shown() == [5, 6, 7]
    assert shown("--since", "2h") == [1, 2, 3, 4, 5, 6, 7]
    assert shown("--since", "2026-01-02T03:04") == [1, 2, 3, 4, 5, 6, 7]
    assert shown("--after", "4") == [5, 6, 7]
    assert len(overbook("events", "--audit", "--since", "1d").stdout.splitlines()) == 1 + 7
    assert overbook("events", "--audit", "--after", "9").stderr == "no entries\n"


@pytest.mark.parametrize("time", ["yesterday", "-1h", "2026-13-01", "12000d"])
def test_what_is_no_time_is_told_so(overbook: Overbook, time: str) -> None:
    result = overbook("events", "--since", time)
    assert result.exit_code == 2
    assert f"'{time}' is no time; expected how long ago, such as 2h or 7d" in result.output


def test_events_since(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.events = [event(1, "iris"), {**event(2, "wine"), "time": "2036-01-02T03:04:05.000Z"}]
    (line,) = overbook("events", "--since", "1h").stdout.splitlines()
    assert "model/wine" in line
