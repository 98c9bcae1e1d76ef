"""Tokens that people make and revoke: who may not lock themselves out."""

from __future__ import annotations

import pytest

from overbook.access.roles import Role
from overbook.scheduler import tokens_in
from overbook.scheduler.errors import Conflict, Invalid, NotFound
from overbook.scheduler.state import State
from overbook.scheduler.tokens_in import Wanted

ADMIN = Wanted("boss", Role.ADMIN)


def state(*wanted: Wanted) -> State:
    made = State()
    for each in wanted:
        tokens_in.add(made, each, each.name.encode(), 100.0)
    return made


@pytest.mark.parametrize(
    "first",
    [Wanted("x", Role.INFER), Wanted("x", Role.OPERATOR), Wanted("x", Role.ADMIN, (), 60.0)],
)
def test_the_first_can_make_others_for_ever(first: Wanted) -> None:
    with pytest.raises(Conflict, match="--role admin"):
        state(first)
    assert state(ADMIN, first).tokens["x"].role is first.role


def test_a_lifetime_becomes_an_end() -> None:
    found = state(ADMIN, Wanted("x", Role.VIEWER, (), 60.0)).tokens["x"]
    assert (found.created, found.expires, found.used) == (100.0, 160.0, 0.0)


def test_what_gateways_hear_in_one_message_is_bounded() -> None:
    many = tuple(f"{number:03}".ljust(250, "x") for number in range(30))
    made = state(ADMIN, *(Wanted(f"t{number}", Role.INFER, many) for number in range(66)))
    with pytest.raises(Conflict, match="500000 characters"):
        tokens_in.add(made, Wanted("more", Role.INFER, many), b"", 1.0)
    assert "more" not in made.tokens


def test_a_use_is_written_and_no_news_to_gateways() -> None:
    made = state(ADMIN)
    made.take_changes(100.0)
    tokens_in.note_use(made, "boss", 200.0)
    changes = made.take_changes(200.0)
    assert made.tokens["boss"].used == 200.0
    assert changes.durable
    assert not changes.of_tokens


def test_a_name_is_given_once() -> None:
    with pytest.raises(Conflict, match="revoke it first"):
        state(ADMIN, ADMIN)


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Wanted("", Role.ADMIN), "name"),
        (Wanted("A B", Role.ADMIN), "name"),
        (Wanted("x" * 64, Role.ADMIN), "name"),
        (Wanted("x", Role.ADMIN, ("a*",)), "models"),
        (Wanted("x", Role.INFER, ("a/b",)), "models"),
        (Wanted("x", Role.INFER, ("a",) * 33), "models"),
        (Wanted("x", Role.INFER, (), 0.0), "expiresIn"),
        (Wanted("x", Role.INFER, (), float("nan")), "expiresIn"),
        (Wanted("x", Role.INFER, (), float("inf")), "expiresIn"),
    ],
)
def test_what_is_wrong_is_named(wanted: Wanted, named: str) -> None:
    with pytest.raises(Invalid, match=f"^{named}: "):
        tokens_in.add(state(ADMIN), wanted, b"", 0.0)


def test_the_last_administrator_goes_last() -> None:
    made = state(ADMIN, Wanted("x", Role.INFER), Wanted("brief", Role.ADMIN, (), 60.0))
    with pytest.raises(Conflict, match="create one first"):
        tokens_in.remove(made, "boss", required=False)
    assert tokens_in.remove(made, "x", required=False) == []
    assert tokens_in.remove(made, "brief", required=False) == []
    with pytest.raises(Conflict):
        tokens_in.remove(made, "boss", required=True)
    assert "whoever can connect" in tokens_in.remove(made, "boss", required=False)[0]
    assert made.tokens == {}


def test_one_of_two_administrators_may_go() -> None:
    made = state(ADMIN, Wanted("other", Role.ADMIN))
    assert tokens_in.remove(made, "boss", required=True) == []


def test_what_is_not_there_is_not_revoked() -> None:
    with pytest.raises(NotFound, match="token list"):
        tokens_in.remove(State(), "x", required=False)


def test_use_is_noted_once_a_minute_and_written() -> None:
    made = state(ADMIN)
    made.seats.changes.tokens.clear()
    tokens_in.note_use(made, "boss", 200.0)
    assert made.tokens["boss"].used == 200.0
    assert made.seats.changes.uses == {"boss"}
    tokens_in.note_use(made, "boss", 259.0)
    assert made.tokens["boss"].used == 200.0
    tokens_in.note_use(made, "boss", 260.0)
    tokens_in.note_use(made, "gone", 260.0)
    assert made.tokens["boss"].used == 260.0


def test_no_more_than_gateways_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_in, "MOST", 1)
    with pytest.raises(Conflict, match="revoke some first"):
        tokens_in.add(state(ADMIN), Wanted("x", Role.INFER), b"", 0.0)
