"""Who may work on the inference server beside whom: contents of unknown size are loaded alone, to be measured.

Every wait here is bounded by ``patience``: an operation that takes longer, or hangs, holds up nobody any more. Then
the others go on beside it, and what it took is told from what is known of them, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from overbook.agent.clock import Clock


class Turns:
    """Operations of one server replica. ``patience``: seconds that any of them is waited for since it began."""

    def __init__(self, patience: float, clock: Clock) -> None:
        self._patience = patience
        self._clock = clock
        self._running: dict[object, float] = {}  # when each began
        self._alone: dict[object, float] = {}  # at most one; when it asked to be
        self._changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self, *, alone: bool) -> AsyncIterator[None]:
        """Work for as long as the context lasts, ``alone`` as far as that can be had."""
        me = object()
        await self._wait(lambda: self._alone.values())
        if alone and not self._alone:
            self._alone[me] = self._clock.now()
        try:
            if me in self._alone:
                await self._wait(lambda: self._running.values())
            self._running[me] = self._clock.now()
            yield
        finally:
            self._running.pop(me, None)
            self._alone.pop(me, None)
            self._changed.set()
            self._changed = asyncio.Event()

    async def settled(self) -> None:
        """Wait until all have ended that began after the oldest, the caller."""
        await self._wait(lambda: tuple(self._running.values())[1:])

    async def _wait(self, since: Callable[[], Iterable[float]]) -> None:
        """Until none of those moments is left, or all are long ago."""
        while young := [each for each in since() if each + self._patience > self._clock.now()]:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(young) + self._patience - self._clock.now()):
                    await changed.wait()
