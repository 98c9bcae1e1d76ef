"""What is there for whom, by the token that came with the request."""

from __future__ import annotations

import contextlib

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overbook.access.roles import Role
from overbook.access.tokens import Token
from overbook.gateway.oip.callers import KnownCallers, PermittedCalls, VisibleModels
from overbook.gateway.oip.errors import NotAllowed
from overbook.runtimes.server_kinds import LOG, REPOSITORY, SHARED_MEMORY
from tests.unit.gateway.oip.access import FakeAccess
from tests.unit.gateway.oip.catalogue import FakeAllowed, FakeCatalogue, FakeEntry


def token(role: Role, *models: str) -> Token:
    return Token(role.value, role, models, 0.0, None, b"")


HOLDERS = {
    "Bearer a": token(Role.INFER, "team-a-*"),
    "Bearer all": token(Role.INFER),
    "Bearer viewer": token(Role.VIEWER),
    "Bearer operator": token(Role.OPERATOR),
}


def catalogue() -> FakeCatalogue:
    names = ("team-a-x", "team-b-x")
    return FakeCatalogue(
        {name: FakeEntry() for name in names}, kind_of=dict.fromkeys(names, "mlserver")
    )


async def called(app: ASGIApp, header: str | None) -> None:
    """The application for a request with this header, of which it needs nothing else."""

    async def nothing() -> Message:
        raise AssertionError

    async def nowhere(message: Message) -> None:
        raise AssertionError

    headers = [] if header is None else [(b"authorization", header.encode())]
    await KnownCallers.over_rest(app)({"type": "http", "headers": headers}, nothing, nowhere)


async def asked(header: str | None, access: FakeAccess) -> tuple[list[str], list[bool], list[str]]:
    """What the catalogue lists, finds and tells, for a request with this header."""
    seen = VisibleModels(catalogue(), access)
    found: list[tuple[list[str], list[bool], list[str]]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        names = ("team-a-x", "team-b-x", "none")
        found.append(
            (
                sorted(seen.models()),
                [seen.find(name) is not None for name in names],
                [seen.kind(name) for name in names],
            )
        )

    await called(app, header)
    return found[0]


@pytest.mark.parametrize("header", [None, "Bearer a", "nonsense"])
async def test_without_tokens_everything_is_there_for_everybody(header: str | None) -> None:
    listed, found, _ = await asked(header, FakeAccess(asked=False, holders=HOLDERS))
    assert listed == ["team-a-x", "team-b-x"]
    assert found == [True, True, False]


@pytest.mark.parametrize(
    ("header", "listed", "found"),
    [
        (None, [], [False, False, False]),
        ("Bearer none", [], [False, False, False]),
        ("Bearer viewer", [], [False, False, False]),
        ("Bearer a", ["team-a-x"], [True, False, False]),
        ("Bearer all", ["team-a-x", "team-b-x"], [True, True, False]),
        ("Bearer operator", ["team-a-x", "team-b-x"], [True, True, False]),
    ],
)
async def test_with_tokens_only_what_is_granted(
    header: str | None, listed: list[str], found: list[bool]
) -> None:
    said = await asked(header, FakeAccess(asked=True, holders=HOLDERS))
    assert said[:2] == (listed, found)
    assert [bool(kind) for kind in said[2]] == found


@pytest.mark.parametrize(
    ("header", "permitted"),
    [
        ("Bearer a", ()),
        ("Bearer viewer", ()),
        ("Bearer all", (SHARED_MEMORY,)),
        ("Bearer operator", (SHARED_MEMORY, REPOSITORY, LOG)),
        (None, ()),
    ],
)
async def test_calls_that_touch_a_server_are_for_who_operates(
    header: str | None, permitted: tuple[str, ...]
) -> None:
    access = FakeAccess(asked=True, holders=HOLDERS)
    calls = PermittedCalls(FakeAllowed(), access)
    found: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for word in (SHARED_MEMORY, REPOSITORY, LOG):
            with contextlib.suppress(NotAllowed):
                calls.servers(word)
                found.append(word)

    await called(app, header)
    assert tuple(found) == permitted
