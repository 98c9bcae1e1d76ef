"""Opens the cache of artifacts that agents of this process share: where it lies, how large it may be, whom it asks."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from overbook import metrics
from overbook.agent.part import MachineArtifacts
from overbook.artifacts.cache import ArtifactCache
from overbook.artifacts.fetching import Fetcher
from overbook.artifacts.folder import told_of_link
from overbook.artifacts.secrets.known import Changed, SecretPlaces, Secrets
from overbook.artifacts.sources.factory import Sources
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.rclone.identity import this_machine
from overbook.artifacts.space import DiskShare
from overbook.database import tell_log
from overbook.machine.folders import StateUnusable
from overbook.machine.options import ArtifactOptions
from overbook.manifests.quantities import MAX_BYTES

# Of what is free on the disk, and of what the cache has there already: the rest is for others, and for logs.
_SHARE: Final = 0.8
_CACHE: Final = "cache"
# Seconds between two looks at what the gauges show.
_GAUGES: Final = 2.0


@asynccontextmanager
async def opened(
    folder: Path, options: ArtifactOptions, places: SecretPlaces
) -> AsyncIterator[MachineArtifacts]:
    """The cache in this folder, for as long as the block runs. ``places``: where this machine has secrets.

    Raises StateUnusable where somebody put a link in its place.
    """
    listeners: list[Changed] = []

    def changed(names: frozenset[str]) -> None:
        for each in listeners:
            each(names)

    troubles: list[str] = []

    def tell(trouble: str) -> None:
        tell_log(trouble)
        troubles.append(trouble)

    secrets = Secrets(places, changed)
    root = folder / _CACHE
    if root.is_symlink():
        raise StateUnusable(told_of_link(root))
    free = await asyncio.to_thread(_free, root)
    limits = FetchLimits(options.fetches, options.fetch_rate)
    sources = Sources(limits, await asyncio.to_thread(this_machine), options.cache_size or free)
    cache = ArtifactCache(
        root,
        Fetcher(sources.of, secrets, time.monotonic),
        budget=options.cache_size or DiskShare(_SHARE, lambda: _free(root), lambda: _total(root)),
        tell=tell,
        machine=socket.gethostname(),
    )
    running = {
        asyncio.create_task(secrets.watch(), name="secrets"),
        asyncio.create_task(_exported(cache), name="metrics of the cache"),
    }
    try:
        yield MachineArtifacts(cache, secrets, listeners, tuple(troubles))
    finally:
        for each in running:
            each.cancel()
        await asyncio.wait(running)
        cache.close()
        await sources.close()


async def _exported(cache: ArtifactCache) -> None:
    """The gauges of the cache are as it is, until this is cancelled."""
    while True:
        export(cache)
        await asyncio.sleep(_GAUGES)


def export(cache: ArtifactCache) -> None:
    """Set its gauges."""
    usage = cache.usage()
    for of, count in (
        ("used", usage.used),
        ("coming", usage.coming),
        ("firm", usage.firm),
        ("budget", usage.budget),
    ):
        metrics.CACHE_BYTES.labels(of).set(count)
    metrics.FETCH_RATE.set(cache.fetch_rate())


def drop_former(state_dir: Path) -> None:
    """Each agent had a cache of its own once; what was in there is fetched into the one that they share. Blocking."""
    for former in (state_dir / "agents").glob(f"*/{_CACHE}"):
        shutil.rmtree(former, ignore_errors=True)


def _free(cache: Path) -> int:
    """Bytes that its disk has for us; 0 while nobody can tell."""
    try:
        info = os.statvfs(_there(cache))
    except OSError:
        return 0
    return info.f_bavail * info.f_frsize


def _total(cache: Path) -> int:
    """Bytes that its disk has; as many as there can be while nobody can tell."""
    try:
        info = os.statvfs(_there(cache))
    except OSError:
        return MAX_BYTES
    return info.f_blocks * info.f_frsize


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
