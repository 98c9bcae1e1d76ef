"""Counts the calls of the control API that are not answered yet, so that a stop can wait for them. ASGI middleware."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send


class Calls:
    """``end_waits`` answers, from then on, at once those who only wait for something to happen."""

    def __init__(self, app: ASGIApp, end_waits: Callable[[], None]) -> None:
        self._app: Final = app
        self._end_waits = end_waits
        self._none = asyncio.Event()
        self._none.set()
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.running += 1
        self._none.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self.running -= 1
            if not self.running:
                self._none.set()

    async def drain(self) -> None:
        """Until no call runs any more."""
        self._end_waits()
        await self._none.wait()
