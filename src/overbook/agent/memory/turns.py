"""Who may work on the inference server beside whom: contents of unknown size are loaded alone, to be measured.

Every wait here is bounded by ``patience``: a load that takes long, or hangs, holds up nobody for longer. Then the
others go on beside it, and what it took is told from what is known of them, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Turns:
    """Operations of one server replica. ``patience``: seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._running = 0
        self._alone: object | None = None
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, *, alone: bool) -> AsyncIterator[None]:
        """Work for as long as the context lasts, ``alone`` as far as that can be had."""
        me = object()
        if alone:
            await self._wait(lambda: self._alone is None)
            if self._alone is None:
                self._alone = me
        else:
            await self._wait(lambda: self._alone is None)
        try:
            if self._alone is me:
                await self._wait(lambda: self._running == 0)
            self._running += 1
            try:
                yield
            finally:
                self._running -= 1
        finally:
            if self._alone is me:
                self._alone = None
            self._news()

    async def settled(self) -> None:
        """Wait until only the caller works."""
        await self._wait(lambda: self._running <= 1)

    def _news(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self, done: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(self._patience):
                while not done():
                    await self._changed.wait()
        except TimeoutError:
            return
