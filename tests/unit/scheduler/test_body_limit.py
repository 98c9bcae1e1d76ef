"""What is too large is refused before it is read: by what was announced, and by what came."""

from __future__ import annotations

import pytest
from fastapi import HTTPException
from starlette.types import Message, Receive, Scope, Send

from overbook.scheduler.body_limit import BodyLimit

MOST = 10


async def read(pieces: list[bytes], announced: str | None = None) -> bytes:
    """What an application behind the limit reads of a body that comes in pieces."""
    found = b""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal found
        more = True
        while more:
            message = await receive()
            found += message["body"]
            more = message["more_body"]

    async def receive() -> Message:
        body = pieces.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        raise AssertionError("nothing is answered here")

    headers = [] if announced is None else [(b"content-length", announced.encode())]
    await BodyLimit(app, MOST)({"type": "http", "headers": headers}, receive, send)
    return found


async def test_what_is_small_enough_is_read() -> None:
    assert await read([b"12345", b"67890"], announced="10") == b"1234567890"
    assert await read([b"12345", b"67890"]) == b"1234567890"
    assert await read([b"1"], announced="one") == b"1"


@pytest.mark.parametrize("announced", [None, "11"])
async def test_what_is_too_large_is_refused(announced: str | None) -> None:
    pieces = [b"123456", b"78901", b"never asked for"]
    with pytest.raises(HTTPException, match="more than 10 bytes") as refused:
        await read(pieces, announced)
    assert refused.value.status_code == 413
    assert len(pieces) == (1 if announced is None else 3)
