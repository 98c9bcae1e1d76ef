"""Bounds the bodies of the control API's requests. ASGI middleware.

FastAPI has a bound too, but answers with plain text where every other refusal is JSON.
"""

from __future__ import annotations

from typing import Final

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """Whoever reads a body of more than ``most`` bytes gets an HTTPException, 413, as soon as that shows."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app: Final = app
        self._most: Final = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            if announced.isdigit() and int(announced) > self._most:
                raise self._too_large()
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise self._too_large()
            return message

        await self._app(scope, bounded, send)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body has more than {self._most} bytes; send less at once")
