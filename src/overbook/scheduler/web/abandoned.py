"""Ends reads that nobody waits for any more: the client has left. ASGI middleware.

Who waits for events or lines of a log has one of few places. Without this it would be kept after the client has gone,
until its time is over. What changes something is never ended half way, whoever leaves.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_READS: Final = frozenset({"GET", "HEAD"})


class Abandoned:
    """Hands reads on without their bodies, which mean nothing, so that it hears when their client leaves."""

    def __init__(self, app: ASGIApp) -> None:
        self._app: Final = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _READS:
            await self._app(scope, receive, send)
            return
        reading = asyncio.ensure_future(self._app(scope, _silent, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            for each in (reading, leaving):
                each.cancel()
            await asyncio.gather(reading, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _silent() -> dict[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}
