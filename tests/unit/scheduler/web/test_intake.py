"""Bodies are read within limits: by what was announced and what came, together and one by one, and in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from starlette.types import Message, Receive, Scope, Send

from overbook.scheduler.web.intake import Intake
from overbook.scheduler.web.limits import Limits

SMALL = Limits(manifest_bytes=30, secret_bytes=20, other_bytes=10, held_bytes=40, values=8, depth=3)
JSON = {"content-type": "application/json"}


@dataclass
class Application:
    """Behind the limits: what it was given, and whether it holds on to it."""

    given: list[bytes] = field(default_factory=list)
    going_on: asyncio.Event = field(default_factory=asyncio.Event)
    slow: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        assert not message["more_body"]
        self.given.append(message["body"])
        if self.slow:
            await self.going_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class Answer:
    status: int = 0
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)


async def asked(
    intake: Intake,
    pieces: list[bytes],
    headers: Mapping[str, str] = JSON,
    *,
    path: str = "/api/v1/models/iris/evict",
    method: str = "POST",
) -> Answer:
    """The answer to a body that comes in pieces; after the last one nothing comes."""
    answer = Answer()

    async def receive() -> Message:
        if not pieces:
            await asyncio.Event().wait()
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message["body"]:
            answer.text = json.loads(message["body"])["error"]

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    await intake(scope, receive, send)
    return answer


async def test_what_is_small_enough_is_handed_on_in_one_piece() -> None:
    app = Application()
    intake = Intake(app, SMALL)
    for headers in (
        JSON | {"content-length": "10"},
        JSON,
        {"content-type": "Application/JSON; x=y"},
    ):
        answer = await asked(intake, [b"[1234", b"5678]", b""], headers)
        assert answer.status == 200
    assert app.given == [b"[12345678]"] * 3


@pytest.mark.parametrize("announced", [None, "11", "9" * 40])
async def test_what_is_too_large_is_refused(announced: str | None) -> None:
    pieces = [b"123456", b"78901", b"never asked for"]
    headers = JSON if announced is None else JSON | {"content-length": announced}
    app = Application()
    answer = await asked(Intake(app, SMALL), pieces, headers)
    assert answer.status == 413
    assert answer.text.startswith("POST /api/v1/models/iris/evict: the body has more than 10 bytes")
    assert len(pieces) == (1 if announced is None else 3)
    assert app.given == []


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/api/v1/apply", 30),
        ("/api/v1/validate", 30),
        ("/api/v1/secrets/minio", 20),
        ("/api/v1/apply/x", 10),
    ],
)
async def test_how_large_it_may_be_is_a_matter_of_the_call(path: str, most: int) -> None:
    intake = Intake(Application(), SMALL)
    for size, status in ((most, 200), (most + 1, 413)):
        assert (await asked(intake, [b"1" * size, b""], path=path)).status == status


async def test_all_bodies_together_have_a_limit_and_are_given_back() -> None:
    app = Application(slow=True)
    intake = Intake(app, SMALL)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(asked(intake, [b"1" * 30, b""], path="/api/v1/apply"))
        await asyncio.sleep(0)
        late = await asked(intake, [b"1" * 10, b"2", b""], path="/api/v1/apply")
        assert (late.status, late.headers["retry-after"]) == (429, "1")
        assert "more than 40 bytes together" in late.text
        app.going_on.set()
    assert (await first).status == 200
    assert (await asked(intake, [b"1" * 30, b""], path="/api/v1/apply")).status == 200


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    intake = Intake(Application(), Limits(body_seconds=0.01))
    answer = await asked(intake, [b"["])
    assert answer.status == 408
    assert "did not come within 0.01 s" in answer.text


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "text/plain;application/json"]
)
async def test_what_a_form_can_send_is_not_taken_for_json(kind: str) -> None:
    headers = {"content-type": kind} if kind else {}
    intake = Intake(Application(), SMALL)
    answer = await asked(intake, [b"{}", b""], headers)
    assert answer.status == 415
    assert "expected application/json" in answer.text
    assert (await asked(intake, [b""], headers)).status == 200


@pytest.mark.parametrize(
    ("body", "why"), [(b"[[[[", "more than 3 deep"), (b"1,1,1,1,1,1,1,1,1", "more than 8 values")]
)
async def test_what_would_grow_is_refused_before_it_is_built(body: bytes, why: str) -> None:
    intake = Intake(Application(), SMALL)
    answer = await asked(intake, [body, b""], path="/api/v1/apply")
    assert answer.status == 400
    assert why in answer.text


async def test_a_large_body_is_looked_at_too() -> None:
    app = Application()
    body = b'["' + b"x" * 300_000 + b'"' + b",1" * 10 + b"]"
    answer = await asked(Intake(app, Limits(values=8)), [body, b""], path="/api/v1/apply")
    assert (answer.status, app.given) == (400, [])


async def test_who_left_is_not_answered() -> None:
    app = Application()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    await Intake(app, SMALL)(scope, receive, send)
    assert app.given == []


async def test_what_reads_nothing_is_left_alone() -> None:
    app = Application()
    assert (await asked(Intake(app, SMALL), [b""], {}, method="GET")).status == 200


async def test_a_path_in_an_answer_is_one_short_line() -> None:
    answer = await asked(Intake(Application(), SMALL), [b"1" * 50], path="/\x1b]0;x\n" + "a" * 9000)
    assert "\x1b" not in answer.text
    assert len(answer.text) < 250
