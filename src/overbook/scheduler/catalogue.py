"""Who watches the catalogue and the list of Servers, and what each has not been told yet.

A watcher holds names, never messages: a slow one costs a set of names, and hears the newest state once.
When even that grows too large it starts over with a full sync. What is sent is built by `messages`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from overbook.placement import ReplicaId

# Above the names of all models several times over: only names of removed ones can add up to it.
MAX_DIRTY: Final = 100_000


class CatalogueWatch:
    """One gateway's share. It begins with ``reset``: everything is new to it."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.wake.set()
        self.reset = True
        self.models: set[str] = set()
        self.replicas: set[ReplicaId] = set()
        self.sent = 0

    def mark(self, models: Iterable[str], replicas: Iterable[ReplicaId]) -> None:
        if not self.reset:
            self.models.update(models)
            self.replicas.update(replicas)
            if len(self.models) + len(self.replicas) > MAX_DIRTY:
                self.reset = True
                self.models.clear()
                self.replicas.clear()
        self.wake.set()


class CatalogueHub:
    """All gateways' shares, and when all of them have heard of a change."""

    def __init__(self) -> None:
        self._watches: set[CatalogueWatch] = set()
        self.version = 0
        self._progress = asyncio.Event()

    @contextmanager
    def watching(self) -> Iterator[CatalogueWatch]:
        watch = CatalogueWatch()
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            self._progress.set()

    def mark(self, models: Iterable[str], replicas: Iterable[ReplicaId]) -> None:
        self.version += 1
        for watch in self._watches:
            watch.mark(models, replicas)

    def reset(self) -> None:
        """Everybody starts over."""
        self.version += 1
        for watch in self._watches:
            watch.reset = True
            watch.wake.set()

    def written(self, watch: CatalogueWatch, version: int) -> None:
        """The watcher has been sent everything up to ``version``."""
        watch.sent = version
        self._progress.set()

    async def settled(self, timeout: float) -> bool:
        """Waits until all present watchers have been sent what was marked so far; False: too slow."""
        target = self.version
        try:
            async with asyncio.timeout(timeout):
                while any(watch.sent < target for watch in self._watches):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True


class ServersHub:
    """Wakes those who watch the list of Servers; they always get the whole list."""

    def __init__(self) -> None:
        self._watches: set[asyncio.Event] = set()

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        wake = asyncio.Event()
        wake.set()
        self._watches.add(wake)
        try:
            yield wake
        finally:
            self._watches.discard(wake)

    def mark(self) -> None:
        for wake in self._watches:
            wake.set()
