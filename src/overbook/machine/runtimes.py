"""Brings what an agent's server runs from onto this machine before the agent needs it: the runtime with what is missing
of it, or an environment that is its Server's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from overbook.runtimes import own
from overbook.runtimes.abandoning import in_thread
from overbook.runtimes.catalogue import runtime
from overbook.runtimes.install import (
    RuntimeEnvironment,
    RuntimeInstallError,
    environment,
    install,
)
from overbook.runtimes.own import Wish

log = logging.getLogger(__name__)

Progress = Callable[[str, float | None], None]

# Environments of Servers' own that are made side by side: each resolves, downloads and compiles.
MOST_AT_ONCE: Final = 4


class RuntimeKeeper:
    """Makes what is missing, and holds up nobody for whom nothing is. ``folder``: of the environments that are Servers'
    own. ``progress`` gets a message and the fraction done, None when unknown; it is called in threads too, and so is
    whatever a call adds to it.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        # Of what is being made now, and for as long as somebody waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._making: list[str] = []

    async def ensure(
        self,
        name: str,
        claims: Iterable[str] = (),
        wish: Wish | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> RuntimeEnvironment:
        """The environment, installed unless it is there, with the extras that make the ``claims`` true.

        ``claims``: words that a Server says it can do; those that no extra offers need nothing from here. ``wish``:
        what the Server's own environment consists of, None for the runtime's. ``tell``: gets each message as well.
        Raises UnknownRuntime, RuntimeInstallError.
        """
        known = runtime(name)
        extras = known.extras_for(claims)

        def progress(message: str, fraction: float | None) -> None:
            self._progress(message, fraction)
            if tell is not None:
                tell(message)

        if wish is None:
            return await self._runtime(name, extras, progress)
        place = await in_thread(own.place_of, known, extras, wish, self._folder)
        # Without a lock: one that is made hangs for half an hour when it hangs, and others are there.
        if made := await in_thread(own.made_at, place):
            return made
        async with (
            self._alone(f"environment of {place.title}", str(place.root), progress),
            self._slot(place.title, progress),
        ):
            return await in_thread(own.make_at, place, progress)

    async def prune(self) -> None:
        """Remove environments of Servers' own that nobody has used for days."""
        for gone in await asyncio.to_thread(own.prune, self._folder):
            log.info("removed the environment %s, which no Server uses", gone.name)

    async def _runtime(
        self, name: str, extras: frozenset[str], progress: Progress
    ) -> RuntimeEnvironment:
        if await asyncio.to_thread(_missing, name, extras):
            async with self._alone(f"runtime {name}", name, progress):
                if missing := await asyncio.to_thread(_missing, name, extras):
                    log.info("installing %s", missing)
                    await in_thread(install, name, progress, extras=extras)
        return await asyncio.to_thread(environment, name)

    @asynccontextmanager
    async def _alone(self, what: str, key: str, progress: Progress) -> AsyncIterator[None]:
        """One at a time makes the same thing; whoever comes later says so, and finds it made."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        if lock.locked():
            progress(f"waiting for the {what} to be made", None)
        async with lock:
            yield

    @asynccontextmanager
    async def _slot(self, title: str, progress: Progress) -> AsyncIterator[None]:
        if self._slots.locked():
            others = ", ".join(self._making)
            progress(f"waiting for one of these environments to be made: {others}", None)
        async with self._slots:
            self._making.append(title)
            try:
                yield
            finally:
                self._making.remove(title)


def _missing(name: str, extras: frozenset[str]) -> str:
    """In words; empty when all is there."""
    try:
        absent = sorted(extras - environment(name).extras)
    except RuntimeInstallError:
        return f"runtime {name}"
    return f"{', '.join(absent)} for runtime {name}" if absent else ""
