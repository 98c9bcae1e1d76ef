"""Keeps the log of requests that failed, which Envoy writes, from growing for ever.

A line of it is JSON with the request's id, the one that its client got in `x-request-id`. What a line has: see
`snapshot.listeners`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import EnvoyUnavailable

NAME: Final = "failed-requests.log"
_MOST_BYTES: Final = 10 * 1024 * 1024
_LOOK_SECONDS: Final = 1.0


class RequestLog:
    """The one who renames it. One earlier file is kept beside it, with `.1` at its end."""

    def __init__(self, path: Path, admin: Admin) -> None:
        self._path = path
        self._admin = admin

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Begins a new file where this one is large. Envoy writes on into the old one until it was told."""
        with contextlib.suppress(OSError, EnvoyUnavailable):
            if self._path.stat().st_size > _MOST_BYTES:
                os.replace(self._path, f"{self._path}.1")
                await self._admin.reopen_logs()
