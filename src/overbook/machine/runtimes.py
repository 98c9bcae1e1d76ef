"""Brings what an agent's server runs from onto this machine before the agent needs it: the runtime with what is missing
of it, or an environment that is its Server's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

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


class RuntimeKeeper:
    """One installation at a time. ``folder``: of the environments that are Servers' own. ``progress`` gets a message
    and the fraction done, None when unknown; it is called in threads, and so is whatever a call adds to it.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder = folder
        self._progress = progress
        self._lock = asyncio.Lock()

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
        extras = runtime(name).extras_for(claims)

        def progress(message: str, fraction: float | None) -> None:
            self._progress(message, fraction)
            if tell is not None:
                tell(message)

        async with self._lock:
            if wish is not None:
                return await in_thread(
                    own.own_environment, runtime(name), extras, wish, self._folder, progress
                )
            missing = await asyncio.to_thread(_missing, name, extras)
            if missing:
                log.info("installing %s", missing)
                await in_thread(install, name, progress, extras=extras)
            return await asyncio.to_thread(environment, name)

    async def prune(self) -> None:
        """Remove environments of Servers' own that nobody has used for days."""
        async with self._lock:
            for gone in await asyncio.to_thread(own.prune, self._folder):
                log.info("removed the environment %s, which no Server uses", gone.name)


def _missing(name: str, extras: frozenset[str]) -> str:
    """In words; empty when all is there."""
    try:
        absent = sorted(extras - environment(name).extras)
    except RuntimeInstallError:
        return f"runtime {name}"
    return f"{', '.join(absent)} for runtime {name}" if absent else ""
