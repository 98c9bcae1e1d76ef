"""Who watches the catalogue and the list of Servers, and what each has not been told yet.

A watcher holds names, never messages: a slow one costs a set of names, and hears the newest state once.
When even that grows too large it starts over with a full sync. What is sent is built by `messages`; how far a gateway
has followed, and who waits for it, is `hearing`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from overbook.placement import ReplicaId
from overbook.scheduler.hearing import Hearing, Listener

# Above the names of all models several times over: only names of removed ones can add up to it.
MAX_DIRTY: Final = 100_000
# A gateway whose stream broke routes by what it heard last, and is expected back, for so long.
AWAY_SECONDS: Final = 60.0


class CatalogueWatch(Listener):
    """One gateway's share. It begins with ``reset``: everything is new to it. ``access``: so are the tokens."""

    def __init__(self, gateway: str) -> None:
        super().__init__(gateway)
        self.wake = asyncio.Event()
        self.wake.set()
        self.reset = True
        self.access = True
        self.models: set[str] = set()
        self.replicas: set[ReplicaId] = set()

    def mark(self, models: Iterable[str], replicas: Iterable[ReplicaId]) -> None:
        self.change()
        if not self.reset:
            self.models.update(models)
            self.replicas.update(replicas)
            if len(self.models) + len(self.replicas) > MAX_DIRTY:
                self.reset = True
                self.models.clear()
                self.replicas.clear()
        self.wake.set()


class CatalogueHub:
    """All gateways' shares, and when all of them have heard of a change. ``clock``: in seconds."""

    def __init__(self, hearing: Hearing, clock: Callable[[], float]) -> None:
        self._hearing = hearing
        self._clock = clock
        self._watches: set[CatalogueWatch] = set()
        # Gateways whose streams broke, and when.
        self._left: dict[str, float] = {}

    @contextmanager
    def watching(self, gateway: str) -> Iterator[CatalogueWatch]:
        watch = CatalogueWatch(gateway)
        self._watches.add(watch)
        self._left.pop(gateway, None)
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            self._hearing.leave(watch)
            if all(each.name != gateway for each in self._watches):
                self._left[gateway] = self._clock()

    def mark(self, models: Iterable[str], replicas: Iterable[ReplicaId]) -> None:
        for watch in self._watches:
            watch.mark(models, replicas)

    def mark_access(self) -> None:
        """Tokens came or went."""
        for watch in self._watches:
            watch.access = True
            watch.mark((), ())

    def reset(self) -> None:
        """Everybody starts over."""
        for watch in self._watches:
            watch.change()
            watch.reset = watch.access = True
            watch.wake.set()

    @property
    def watches(self) -> frozenset[CatalogueWatch]:
        """The gateways that are connected."""
        return frozenset(self._watches)

    def away(self) -> list[str]:
        """Gateways that were connected not long ago and are not now, by name."""
        now = self._clock()
        self._left = {name: left for name, left in self._left.items() if now - left < AWAY_SECONDS}
        return sorted(self._left)


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
