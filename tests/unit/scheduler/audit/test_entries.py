"""What stands in the audit log: everything that is known, in short and harmless words, and no token."""

from __future__ import annotations

import json

import pytest

from overbook.access.minting import mint
from overbook.scheduler.audit.calls import Call, Change
from overbook.scheduler.audit.entries import (
    Asked,
    Entry,
    clean,
    entries,
    is_refusal,
    number_of,
    origin,
    read,
    written,
)


def asked(call: str = "DELETE /api/v1/models/iris", client: str | None = "10.1.2.3") -> Asked:
    method, path = call.split(" ", 1)
    return Asked("ab12", "2026-11-30T20:15:00.000Z", method, path, call, client)


def test_one_entry_for_each_object() -> None:
    call = Call(
        who="token",
        token="me",
        role="admin",
        changes=[
            Change("Model", "iris", None, 1, "created"),
            Change("Model", "wine", 3, 3, "failed"),
        ],
        unchanged=5,
    )
    both = entries(asked("POST /api/v1/apply"), call, 200)
    for each in both:
        assert each["who"] == "token"
        assert (each["token"], each["role"], each["address"]) == ("me", "admin", "10.1.2.3")
        assert (each["verb"], each["status"], each["unchanged"]) == ("apply", 200, 5)
        assert each["request"] == "ab12"
    told = [(each["name"], each["before"], each["after"], each["outcome"]) for each in both]
    assert told == [("iris", None, 1, "created"), ("wine", 3, 3, "failed")]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((200, "done"), (201, "done"), (404, "failed"), (409, "failed"), (500, "failed")),
        *((401, "refused"), (403, "refused"), (421, "refused"), (None, "unanswered")),
    ],
)
def test_the_status_says_what_became_of_it(status: int | None, outcome: str) -> None:
    (entry,) = entries(asked(), Call(), status)
    assert (entry["kind"], entry["name"], entry["outcome"]) == ("Model", "iris", outcome)
    assert is_refusal(entry) is (outcome == "refused")


def test_an_apply_that_changed_nothing_is_one_entry() -> None:
    (entry,) = entries(asked("POST /api/v1/apply"), Call(who="anyone", unchanged=3), 200)
    assert (entry["unchanged"], entry["kind"], entry["outcome"]) == (3, "", "done")


@pytest.mark.parametrize(
    ("client", "told"),
    [
        *(("127.0.0.1", "local"), ("127.8.8.8", "local"), ("::1", "local")),
        *(("::ffff:127.0.0.1", "local"), (None, "local"), ("", "local")),
        *(
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
        ),
        ("what\x1b[2J", "what"),
    ],
)
def test_where_it_came_from(client: str | None, told: str) -> None:
    assert origin(client) == told


def test_a_token_in_a_path_is_not_kept() -> None:
    token = mint()
    (entry,) = entries(asked(f"DELETE /api/v1/tokens/{token}"), Call(), 404)
    line = written(entry, 1, 0).decode()
    assert token[3:] not in line
    assert entry["name"] == "ob_…"


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x1b]0;title\x07", "a\nb\tc", "\x9b31m", "\u202eevil", "\ud800", "x" * 10_000]
)
def test_what_is_written_is_one_short_line_that_no_terminal_obeys(text: str) -> None:
    call = Call(changes=[Change(text, text)], who="anyone")
    (entry,) = entries(asked(f"POST /{text}"), call, 200)
    line = written(entry, 7, 0)
    assert line.count(b"\n") == 1
    assert len(line) < 8_000
    assert line.decode("ascii").rstrip("\n").isprintable()
    found = read(line)
    assert found is not None
    for value in found.values():
        assert not isinstance(value, str) or not any(ord(each) < 32 for each in value)
    assert len(clean(text)) <= 300


def test_a_line_is_known_by_its_number() -> None:
    entry: Entry = {"name": "iris"}
    line = written(entry, 12, 3)
    assert number_of(line) == 12
    assert json.loads(line) == {"seq": 12, "name": "iris", "lost": 3}
    assert number_of(line[:-1]) is None
    assert number_of(b"\x00" * 20) is None
    assert number_of(b'{"time": "x"}\n') is None
    assert read(b'{"seq": 1, spoiled}\n') is None
