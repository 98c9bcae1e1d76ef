"""Asks one inference server just what a client asked, over the same protocol, and brings back what it said.

Knows no model and no rule: who is asked, and what, is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import aiohttp
import grpc

from overbook.gateway.oip.errors import NotAvailable
from overbook.gateway.oip.ports import ServerAddress
from overbook.wire.http_clients import http_session

_SECONDS: Final = 10.0
_OK: Final = 200
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said over REST, or over gRPC. ``text``: why not, for people."""

    body: bytes = b""
    http: int = _OK
    code: grpc.StatusCode = grpc.StatusCode.OK
    text: str = ""
    content_type: str = _JSON

    @property
    def ok(self) -> bool:
        return self.http == _OK and self.code is grpc.StatusCode.OK


@dataclass(frozen=True, slots=True)
class OverRest:
    """``path``: with what must be percent-encoded in it."""

    method: str
    path: str
    body: bytes = b""

    async def ask(self, where: ServerAddress) -> Reply:
        """Raises NotAvailable."""
        try:
            async with (
                http_session(where.rest, timeout=_SECONDS) as session,
                session.request(
                    self.method, self.path, data=self.body, headers={"content-type": _JSON}
                ) as reply,
            ):
                body = await reply.read()
                text = body.decode(errors="replace")
                return Reply(body, reply.status, text=text, content_type=reply.content_type)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _silent(where.rest, repr(error)) from error

    def nothing(self, *, listed: bool) -> Reply:
        """What a server says that has nothing to tell. ``listed``: as a list."""
        return Reply(b"[]" if listed else b"")

    def merged(self, replies: Iterable[Reply]) -> Reply:
        """Of lists of things with names: each once."""
        found = {one["name"]: one for each in replies for one in json.loads(each.body)}
        return Reply(json.dumps(list(found.values()), separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True)
class OverGrpc:
    """``method``: with its service, as it was called."""

    method: str
    message: bytes

    async def ask(self, where: ServerAddress) -> Reply:
        """Raises NotAvailable."""
        async with grpc.aio.insecure_channel(where.grpc) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(self.method)
            try:
                return Reply(await call(self.message, timeout=_SECONDS))
            except grpc.aio.AioRpcError as error:
                if error.code() in _UNHEARD:
                    raise _silent(where.grpc, error.details() or "") from error
                return Reply(code=error.code(), text=error.details() or "")

    def nothing(self, *, listed: bool) -> Reply:
        """As `OverRest.nothing`: an empty message either way."""
        return Reply()

    def merged(self, replies: Iterable[Reply]) -> Reply:
        """Of maps: messages one behind the other are one message, in which each key counts once."""
        return Reply(b"".join(each.body for each in replies))


Question: TypeAlias = OverRest | OverGrpc
_UNHEARD: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def _silent(address: str, why: str) -> NotAvailable:
    return NotAvailable(f"the server at {address} did not answer: {why}")
