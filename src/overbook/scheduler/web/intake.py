"""Takes in the bodies of requests, within the limits, before anybody works on them. ASGI middleware.

A body is read whole, looked at, and handed on in one piece. What is refused is answered here: FastAPI would read, build
and check all of it first, and says some of it as plain text.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overbook.scheduler.answers import refusal, told_call
from overbook.scheduler.web.json_size import excess
from overbook.scheduler.web.limits import Limits

# Paths whose bodies are larger than others, by how they begin.
_MANIFESTS: Final = ("/api/v1/apply", "/api/v1/validate")
_SECRETS: Final = "/api/v1/secrets/"
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON: Final = "application/json"
# Bytes that are looked at without a thread: a millisecond.
_QUICK: Final = 256 * 1024


class _Refused(Exception):
    def __init__(self, code: int, why: str, retry_after: int | None = None) -> None:
        super().__init__(why)
        self.code: Final = code
        self.retry_after: Final = retry_after


class Intake:
    """Hands on what is small enough and JSON; all else it refuses, with the reason in one line."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app: Final = app
        self._limits: Final = limits
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            await self._read(scope, receive, body)
            await self._look(scope, body)
            await self._app(scope, _replaying(bytes(body), receive), send)
        except _Refused as error:
            # Others need not make room while this one is answered.
            self._held -= len(body)
            body.clear()
            told = f"{told_call(scope)}: {error}"
            await refusal(told, error.code, retry_after=error.retry_after)(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        finally:
            self._held -= len(body)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        """Into ``body``, so that what was held is known however it ends."""
        most = self._most(scope["path"])
        announced = Headers(scope=scope).get("content-length", "")
        too_large = _Refused(413, f"the body has more than {most} bytes; send less at once")
        if announced.isdigit() and (len(announced) > 18 or int(announced) > most):
            raise too_large
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    piece = message.get("body", b"")
                    body += piece
                    self._held += len(piece)
                    if len(body) > most:
                        raise too_large
                    if self._held > self._limits.held_bytes:
                        raise _Refused(
                            429,
                            f"the bodies of all requests have more than {self._limits.held_bytes} bytes together; "
                            "try again in a moment",
                            retry_after=1,
                        )
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            raise _Refused(
                408, f"the body did not come within {self._limits.body_seconds:g} s; send it again"
            ) from None

    async def _look(self, scope: Scope, body: bytearray) -> None:
        if not body:
            return
        kind = Headers(scope=scope).get("content-type", "")
        if kind.partition(";")[0].strip().lower() != _JSON:
            # What a form of some web page can send without asking first is never taken for JSON.
            told = repr(kind[:80]) if kind else "none"
            raise _Refused(415, f"content-type: is {told}; expected {_JSON}")
        limits = self._limits
        if len(body) <= _QUICK:
            why = excess(body, values=limits.values, depth=limits.depth)
        else:
            why = await asyncio.to_thread(excess, body, values=limits.values, depth=limits.depth)
        if why:
            raise _Refused(400, f"the body {why}; send less at once")

    def _most(self, path: str) -> int:
        if path in _MANIFESTS:
            return self._limits.manifest_bytes
        return self._limits.secret_bytes if path.startswith(_SECRETS) else self._limits.other_bytes


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then whatever comes: that the client has left."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
