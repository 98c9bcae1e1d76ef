"""Has every call of the control API that may change something recorded, before it is answered. ASGI middleware.

Around all others, so that it sees what they refuse. Who called is told by `scheduler.authentication`, what came of it
by who answers, see `calls`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from overbook.scheduler.answers import told_call
from overbook.scheduler.audit import calls
from overbook.scheduler.audit.entries import Asked, Entry, entries
from overbook.scheduler.status import moment


class Records(Protocol):
    """What is written to: `overbook.scheduler.audit.log.AuditLog`."""

    async def record(self, entries: Sequence[Entry]) -> None: ...

    def put(self, entries: Sequence[Entry]) -> None: ...


class Audited:
    """``clock``: Unix seconds."""

    def __init__(self, app: ASGIApp, log: Records, clock: Callable[[], float]) -> None:
        self._app: Final = app
        self._log: Final = log
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not calls.is_change(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        call = calls.begun(scope)
        recorded = False

        def made(status: int | None) -> list[Entry]:
            nonlocal recorded
            recorded = True
            client = scope.get("client")
            asked = Asked(
                number=secrets.token_hex(6),
                time=moment(self._clock()),
                method=scope["method"],
                path=scope["path"],
                call=told_call(scope),
                client=client[0] if client else None,
            )
            return entries(asked, call, status)

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._log.record(made(message["status"]))
            await send(message)

        try:
            await self._app(scope, receive, recording)
        finally:
            if not recorded:
                self._log.put(made(None))
