"""Brings a missing runtime, or a missing extra of it, onto this machine before an agent needs it, with progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from overbook.runtimes.catalogue import runtime
from overbook.runtimes.install import RuntimeInstallError, environment, install

log = logging.getLogger(__name__)


class RuntimeKeeper:
    """One installation at a time. ``progress`` gets a message and the fraction done, None when unknown."""

    def __init__(self, progress: Callable[[str, float | None], None]) -> None:
        self._progress = progress
        self._lock = asyncio.Lock()

    async def ensure(self, name: str, claims: Iterable[str] = ()) -> None:
        """Install the runtime unless it is there, with the extras that make the ``claims`` true.

        ``claims``: words that a Server says it can do; those that no extra offers need nothing from here.
        Raises UnknownRuntime, RuntimeInstallError.
        """
        extras = runtime(name).extras_for(claims)
        async with self._lock:
            missing = await asyncio.to_thread(_missing, name, extras)
            if missing:
                log.info("installing %s", missing)
                await asyncio.to_thread(install, name, self._progress, extras=extras)


def _missing(name: str, extras: frozenset[str]) -> str:
    """In words; empty when all is there."""
    try:
        absent = sorted(extras - environment(name).extras)
    except RuntimeInstallError:
        return f"runtime {name}"
    return f"{', '.join(absent)} for runtime {name}" if absent else ""
