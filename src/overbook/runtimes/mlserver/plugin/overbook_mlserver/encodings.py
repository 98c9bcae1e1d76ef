"""Bodies in gzip and deflate over REST, both ways: MLServer itself takes gzip in, and that without binary tensors.

Answers are compressed for a client that names one coding and nothing else, as tritonclient does when it is told to.
Libraries that name several do so for every request and not for want of bytes: to compress for them would cost each
request more than it saves on the way.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import orjson

_CODINGS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
# Of zlib and of nothing: what is called deflate comes with and without its header.
_BARE = -zlib.MAX_WBITS
_ENCODING = b"content-encoding"
_LENGTH = b"content-length"
# Values of accept-encoding for which `RestInfer` leaves a request to the application.
COMPRESSED = frozenset(coding.decode() for coding in _CODINGS)
# Larger ones are worked on in a thread.
_SMALL = 64 * 1024
_TOO_LARGE, _BAD_REQUEST, _UNSUPPORTED = 413, 400, 415


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Encodings:
    """ASGI middleware in front of MLServer's REST application. ``longest``: bytes of the largest body, inflated."""

    def __init__(self, app: Any, longest: int) -> None:
        self._app = app
        self._longest = longest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))
        coding = headers.get(_ENCODING, b"").strip().lower()
        wanted = headers.get(b"accept-encoding", b"").strip().lower()
        if wanted in _CODINGS:
            send = _Compressing(wanted, send)
        if coding in (b"", b"identity"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._inflated(coding, receive)
        except _Refused as refused:
            await _refuse(send, refused)
            return
        if body is None:
            return
        scope["headers"] = [
            *(
                (name, value)
                for name, value in scope["headers"]
                if name not in (_ENCODING, _LENGTH)
            ),
            (_LENGTH, b"%d" % len(body)),
        ]
        await self._app(scope, replayed(body, receive), send)

    async def _inflated(self, coding: bytes, receive: Any) -> bytes | None:
        """None: the client has left. Raises _Refused."""
        if coding not in _CODINGS:
            said = coding.decode("latin-1")[:80]
            raise _Refused(_UNSUPPORTED, f"content-encoding {said!r}: expected gzip or deflate")
        body = await read(receive)
        if body is None:
            return None
        if len(body) < _SMALL:
            return self._inflate(coding, body)
        return await asyncio.to_thread(self._inflate, coding, body)

    def _inflate(self, coding: bytes, body: bytes) -> bytes:
        windows = [_CODINGS[coding], *((_BARE,) if coding == b"deflate" else ())]
        for last, bits in zip((*(False,) * (len(windows) - 1), True), windows, strict=True):
            inflating = zlib.decompressobj(bits)
            try:
                found = inflating.decompress(body, self._longest + 1)
            except zlib.error as error:
                if last:
                    said = coding.decode()
                    raise _Refused(_BAD_REQUEST, f"the body is not in {said}: {error}") from None
                continue
            if len(found) > self._longest:
                raise _Refused(
                    _TOO_LARGE,
                    f"request body: inflated more than {self._longest} bytes, which are accepted",
                )
            if not inflating.eof:
                raise _Refused(_BAD_REQUEST, "the body ends before what is compressed does")
            return found
        raise AssertionError("the last one returns or raises")


async def read(receive: Any) -> bytes | None:
    """The whole body; None: the client has left before its end."""
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def replayed(body: bytes, receive: Any) -> Any:
    """A ``receive`` that says this body, and then what the client still has to say."""
    said = False

    async def replay() -> Any:
        nonlocal said
        if said:
            return await receive()
        said = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


class _Compressing:
    """A ``send`` that compresses answers which are whole; streams pass as they are."""

    def __init__(self, coding: bytes, send: Any) -> None:
        self._coding = coding
        self._send = send
        self._start: Any = None

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if not message.get("more_body", False) and message.get("body"):
                message = {**message, "body": await self._deflated(message["body"])}
                start = {**start, "headers": self._headers(start["headers"], len(message["body"]))}
            await self._send(start)
        await self._send(message)

    async def _deflated(self, body: bytes) -> bytes:
        if len(body) < _SMALL:
            return self._deflate(body)
        return await asyncio.to_thread(self._deflate, body)

    def _deflate(self, body: bytes) -> bytes:
        deflating = zlib.compressobj(wbits=_CODINGS[self._coding])
        return deflating.compress(body) + deflating.flush()

    def _headers(self, headers: Any, size: int) -> list[tuple[bytes, bytes]]:
        kept = [(name, value) for name, value in headers if name.lower() != _LENGTH]
        return [*kept, (_LENGTH, b"%d" % size), (_ENCODING, self._coding)]


async def _refuse(send: Any, refused: _Refused) -> None:
    body = orjson.dumps({"error": str(refused)})
    headers = [(b"content-type", b"application/json"), (_LENGTH, b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
