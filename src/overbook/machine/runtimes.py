"""Brings a missing runtime onto this machine before the first agent needs it, with progress for people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from overbook.runtimes.install import RuntimeInstallError, environment, install

log = logging.getLogger(__name__)


class RuntimeKeeper:
    """One installation at a time. ``progress`` gets a message and the fraction done, None when unknown."""

    def __init__(self, progress: Callable[[str, float | None], None]) -> None:
        self._progress = progress
        self._lock = asyncio.Lock()

    async def ensure(self, name: str) -> None:
        """Install the runtime unless it is there. Raises UnknownRuntime, RuntimeInstallError."""
        async with self._lock:
            try:
                await asyncio.to_thread(environment, name)
            except RuntimeInstallError:
                log.info("installing runtime %s", name)
                await asyncio.to_thread(install, name, self._progress)
