"""Who is let in to the control API: each role at each call that it describes, and at what it does not describe."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI

from overbook.access.roles import Role
from overbook.access.tokens import Token, digest
from overbook.scheduler.api import create_app
from overbook.scheduler.audit.calls import begun, call_of
from overbook.scheduler.authentication import Authentication
from overbook.scheduler.errors import StoreError
from overbook.scheduler.known_tokens import KnownTokens
from overbook.scheduler.state import State
from overbook.scheduler.surveyor import Surveyor
from overbook.scheduler.token_key import TokenKey
from tests.unit.scheduler.described import idle_actor, idle_audit

KEY: Final = bytes(range(32))
NOBODY, GONE = "nobody", "gone"
OPEN: Final = ("/", "/docs", "/healthz", "/openapi.json", "/readyz")
READ: Final = re.compile(
    r"GET /(metrics|api/v1/((models|servers)(/\{name\}(/describe)?)?|events|version))"
)


class FakeActor:
    """``broken``: nothing can be written."""

    def __init__(self) -> None:
        self.broken = False
        self.state = State()
        self.tokens = KnownTokens(TokenKey(Path("tokens.key")), "own", self.now)
        self.tokens._key = KEY
        every = [Token(each, each, (), 0.0, None, digest(KEY, f"ob_{each}")) for each in Role]
        every.append(Token(GONE, Role.ADMIN, (), 0.0, 1.0, digest(KEY, f"ob_{GONE}")))
        self.state.tokens = {each.name: each for each in every}
        self.tokens.follow(every)

    def now(self) -> float:
        return 100.0

    async def submit(self, operation: Callable[[State, float], Awaitable[None]]) -> None:
        if self.broken:
            raise StoreError("the disk is full")
        await operation(self.state, self.now())

    @property
    def used(self) -> list[str]:
        return [name for name, each in self.state.tokens.items() if each.used == self.now()]


def application() -> FastAPI:
    """The real one, whose calls are looked at and not made."""
    actor = idle_actor()
    return create_app(actor, Surveyor(actor, None), lambda: None, idle_audit())


async def nothing() -> Any:
    raise AssertionError("who is asked for a token is not read")


@pytest.fixture
def actor() -> FakeActor:
    return FakeActor()


@pytest.fixture
async def api(actor: FakeActor) -> AsyncIterator[httpx.AsyncClient]:
    """In front of an application that answers everything with the name of the token that was noted."""

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        call = call_of(scope)
        text = (call.token or call.who).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text})

    guarded = Authentication(answering, actor)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        begun(scope)
        await guarded(scope, receive, send)

    transport = httpx.ASGITransport(noting)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        yield client


def shown(who: str) -> dict[str, str]:
    return {} if who == NOBODY else {"authorization": f"Bearer ob_{who}"}


def calls() -> list[tuple[str, str]]:
    described = application().openapi()["paths"]
    return [(method.upper(), path) for path, each in described.items() for method in each]


async def test_there_are_no_websockets_and_none_gets_in(actor: FakeActor) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    guarded = Authentication(application(), actor)
    headers = [(b"authorization", b"Bearer ob_admin")]
    scope = {"type": "websocket", "path": "/api/v1/models", "headers": headers}
    await guarded(scope, nothing, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_each_role_may_call_what_is_meant_for_it(api: httpx.AsyncClient) -> None:
    found = calls()
    assert len(found) > 20
    for method, path in found:
        if path in OPEN:
            expected = {*Role, NOBODY, GONE}
        elif READ.fullmatch(f"{method} {path}"):
            expected = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}
        elif (
            path.endswith("/audit")
            or "/tokens" in path
            or ("/secrets/" in path and method != "GET")
        ):
            expected = {Role.ADMIN}
        else:
            expected = {Role.OPERATOR, Role.ADMIN}
        url = re.sub(r"\{[^}]*\}", "x", path)
        for who in (*Role, NOBODY, GONE):
            answer = await api.request(method, url, headers=shown(who))
            if who in expected:
                assert answer.status_code == 200, (who, method, path)
            else:
                unknown = who in (NOBODY, GONE)
                assert answer.status_code == (401 if unknown else 403), (who, method, path)
                assert answer.json()["error"].startswith("authorization: ")
                assert answer.headers.get("www-authenticate") == ("Bearer" if unknown else None)


@pytest.mark.parametrize(
    "path",
    [
        *("/api/v1/models/", "/api/v1//models", "//api/v1/models", "/API/v1/models", "/metrics/"),
        *("/healthz/../api/v1/models", "/healthz%0A", "/healthz/x", "/docs/../api/v1/tokens"),
        *("/api/v1/models%2Fx", "/api/v1/models/a%2Fb", "/api/v1/models/x/describe/y"),
        *("/api/v1/tokens%0A", "/api/v1/secrets/", "/api/v2/models", "/new"),
    ],
)
async def test_what_nobody_decided_about_is_for_administrators(actor: FakeActor, path: str) -> None:
    reached: list[str] = []

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    guarded = Authentication(answering, actor)
    for who in (NOBODY, Role.INFER, Role.VIEWER, Role.OPERATOR):
        headers = [(name.encode(), value.encode()) for name, value in shown(who).items()]
        decoded = httpx.URL(f"http://here{path}").path if "%" in path else path
        scope = {"type": "http", "method": "GET", "path": decoded, "headers": headers}
        await guarded(scope, nothing, send)
        assert reached in ([], [decoded])
        if reached:
            # The name of a model has no slash: this is a model's path, and a viewer may read it.
            assert path == "/api/v1/models%2Fx"
            assert who in (Role.VIEWER, Role.OPERATOR)
            reached.clear()
    assert {each["status"] for each in sent if "status" in each} == {401, 403}


async def test_head_is_get_and_other_methods_are_not(api: httpx.AsyncClient) -> None:
    async def status(method: str, who: str, path: str = "/api/v1/models") -> int:
        return (await api.request(method, path, headers=shown(who))).status_code

    assert await status("HEAD", Role.VIEWER) == 200
    assert await status("HEAD", NOBODY, "/healthz") == 200
    assert await status("HEAD", NOBODY) == 401
    for method in ("OPTIONS", "PATCH", "TRACE", "PUT", "X"):
        assert await status(method, Role.OPERATOR) == 403, method
        assert await status(method, NOBODY, "/healthz") == 401, method


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer ob_admin"), ("authorization", "Bearer ob_admin")],
        [("authorization", "Bearer ob_admin, Bearer ob_viewer")],
        [("authorization", "Basic ob_admin")],
        [("authorization", "ob_admin")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ob_admin x")],
        [("authorization", "Bearer " + "x" * 10_000)],
        [("proxy-authorization", "Bearer ob_admin")],
        [("cookie", "authorization=Bearer ob_admin")],
    ],
)
async def test_what_is_not_one_token_is_none(
    api: httpx.AsyncClient, headers: list[tuple[str, str]]
) -> None:
    assert (await api.get("/api/v1/models", headers=headers)).status_code == 401
    assert (await api.get("/api/v1/models?token=ob_admin")).status_code == 401


async def test_who_got_in_is_named_and_noted(api: httpx.AsyncClient, actor: FakeActor) -> None:
    answer = await api.get("/api/v1/models", headers=shown(Role.VIEWER))
    assert answer.text == Role.VIEWER
    assert actor.used == [Role.VIEWER]
    assert (await api.get("/api/v1/tokens", headers=shown(Role.VIEWER))).status_code == 403
    assert actor.used == [Role.VIEWER], "what is refused is no use"


async def test_who_reads_does_not_fail_because_the_use_cannot_be_written(
    api: httpx.AsyncClient, actor: FakeActor
) -> None:
    actor.broken = True
    assert (await api.get("/api/v1/models", headers=shown(Role.VIEWER))).status_code == 200


async def test_this_program_asks_its_own_api_and_leaves_no_trace(
    api: httpx.AsyncClient, actor: FakeActor
) -> None:
    headers = {"authorization": "Bearer own"}
    for method, path in (("GET", "/api/v1/servers"), ("POST", "/api/v1/apply")):
        assert (await api.request(method, path, headers=headers)).status_code == 200
    assert (await api.get("/api/v1/tokens", headers=headers)).status_code == 403
    assert "overbook" not in {each.name for each in actor.tokens.message().tokens}
    assert actor.used == []


async def test_before_there_are_tokens_nobody_is_asked(
    api: httpx.AsyncClient, actor: FakeActor
) -> None:
    actor.tokens.follow(())
    for who in (NOBODY, GONE, Role.INFER):
        answer = await api.put("/api/v1/secrets/x", headers=shown(who))
        assert (answer.status_code, answer.text) == (200, "anyone")
