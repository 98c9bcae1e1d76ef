"""A read ends with the client who asked; a change does not."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from overbook.scheduler.web.abandoned import Abandoned


class Slow:
    """An application that works on until it is told to end."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.ended = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ended = "cut"
            raise
        self.ended = "done"


class Client:
    """Sends a request, and leaves when it is told to."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self._asked = False

    async def receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.leave.wait()
        return {"type": "http.disconnect"}


async def send(message: Message) -> None:
    raise AssertionError("nothing is answered here")


def scope(method: str) -> Scope:
    return {"type": "http", "method": method, "path": "/", "headers": []}


@pytest.mark.parametrize(("method", "ended"), [("GET", "cut"), ("POST", "")])
async def test_who_leaves_ends_what_only_reads(method: str, ended: str) -> None:
    app, client = Slow(), Client()
    call = asyncio.ensure_future(Abandoned(app)(scope(method), client.receive, send))
    await asyncio.sleep(0)
    client.leave.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert app.ended == ended
    app.go_on.set()
    await call
    assert app.ended == (ended or "done")


async def test_who_stays_is_answered() -> None:
    app, client = Slow(), Client()
    app.go_on.set()
    await Abandoned(app)(scope("GET"), client.receive, send)
    assert app.ended == "done"


async def test_what_fails_fails() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await Abandoned(broken)(scope("GET"), Client().receive, send)


async def test_a_stop_ends_both() -> None:
    app = Slow()
    call = asyncio.ensure_future(Abandoned(app)(scope("GET"), Client().receive, send))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert app.ended == "cut"
