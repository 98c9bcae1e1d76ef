"""What all fetches of an agent share: how many there may be at a time, and how fast they may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FetchLimits:
    """``concurrent``: processes and connections that bring files at the same time. ``rate``: bytes per second of all
    of them together, None for as fast as it goes.
    """

    def __init__(self, concurrent: int = 4, rate: int | None = None) -> None:
        self.concurrent = concurrent
        self.rate = rate
        self._slots = asyncio.Semaphore(concurrent)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Held by one process, or by one artifact that is brought over connections of our own."""
        async with self._slots:
            yield

    @property
    def rate_of_one(self) -> int | None:
        """Bytes per second that one slot may use, so that all of them keep the rate."""
        return None if self.rate is None else max(1, self.rate // self.concurrent)
