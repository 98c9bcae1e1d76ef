"""Brings one content into the folder of the cache: by a copy of local files, or from a source elsewhere. The way is the
same for both: collect, check, digest, make durable, seal, publish by one rename.

What was collected when a fetch broke off stays and is gone on with. Whether a content is wanted, shared or must leave
is `cache`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from overbook.artifacts.address import Asked
from overbook.artifacts.archives import Bounds, unpack
from overbook.artifacts.digests import content_of
from overbook.artifacts.errors import ArtifactError, SourceError, TooLarge
from overbook.artifacts.fetching import Fetcher
from overbook.artifacts.folder import ContentFolder, remove
from overbook.artifacts.index import Content
from overbook.artifacts.keeping import keep
from overbook.artifacts.local import copy_artifact
from overbook.artifacts.seals import seal_of
from overbook.artifacts.sources.protocol import Listing, Received
from overbook.artifacts.space import Space
from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.survey import look
from overbook.artifacts.transfer import Brought, Transfer
from overbook.artifacts.walk import MAX_ENTRIES

_UNPACKED: Final = ".unpacked"
# How many times its own size an archive may be unpacked, as far as there is room for: tried in this order.
_FACTORS: Final = (2, 8, 64)

T = TypeVar("T")


class _Stopped(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """``fingerprint``: of the files at the source, as they were when they were brought. ``brought``: what that took, where
    they came from elsewhere just now.
    """

    content: Content
    fingerprint: str
    brought: Brought | None = None


class Arrivals:
    """Brings contents into the ``folder``."""

    def __init__(self, folder: ContentFolder, fetcher: Fetcher, space: Space) -> None:
        self._folder = folder
        self._fetcher = fetcher
        self._space = space

    async def copied(self, path: str, version: str) -> Arrived:
        """From this machine. Raises ArtifactError, OSError."""
        seen = await asyncio.to_thread(look, path, version)
        key = _key(path, version, "")
        async with self._space.room(seen.bytes, path):
            return await _stoppable(
                lambda check: self._copied(Path(path), version, key, seen.fingerprint, check)
            )

    def _copied(
        self, source: Path, version: str, key: str, fingerprint: str, check: CheckStopped
    ) -> Arrived:
        began = time.monotonic()
        self._folder.drop_incoming(key)
        tree = self._folder.incoming(key)
        try:
            found = copy_artifact(source, tree, check, version)
            content = self._published(tree, found.digest, found.bytes, began)
        finally:
            self._folder.drop_incoming(key)
        return Arrived(content, fingerprint)

    async def fetched(self, asked: Asked, listing: Listing, transfer: Transfer) -> Arrived:
        """From elsewhere. Raises SourceError, ArtifactError, OSError."""
        began = time.monotonic()
        key = _key(asked.storage_uri, asked.version, listing.fingerprint)
        # Nobody says how much is in an archive: usually little more than it is long.
        needed = listing.bytes * (2 if listing.packed else 1)
        async with self._space.room(needed, asked.storage_uri):
            into = await asyncio.to_thread(self._folder.incoming, key)
            try:
                received = await self._fetcher.bring(asked, listing, into, transfer.came)
                if listing.whole:
                    content = await self._unpacked(asked, listing, into, began)
                else:
                    content = await _stoppable(
                        lambda check: self._checked(into, received, began, check)
                    )
            except SourceError as error:
                if not error.passing:
                    await asyncio.to_thread(self._folder.drop_incoming, key)
                raise
            except ArtifactError:
                # They are the same bytes at the next try.
                await asyncio.to_thread(self._folder.drop_incoming, key)
                raise
            await asyncio.to_thread(self._folder.drop_incoming, key)
        return Arrived(content, listing.fingerprint)

    async def _unpacked(self, asked: Asked, listing: Listing, into: Path, began: float) -> Content:
        """Of a single archive. Room is made for a little more than it is long, for more where need be."""
        (archive,) = listing.files
        tree = into.with_name(into.name + _UNPACKED)
        limit = self._space.budget - listing.bytes
        for factor in _FACTORS:
            most = min(limit, factor * listing.bytes)
            async with self._space.room(most, asked.storage_uri):
                try:
                    return await _stoppable(
                        partial(self._unpack, into / archive.name, tree, most, began)
                    )
                except TooLarge:
                    if most == limit or factor == _FACTORS[-1]:
                        raise
        raise AssertionError("the last factor returns or raises")

    def _unpack(
        self, archive: Path, tree: Path, most: int, began: float, check: CheckStopped
    ) -> Content:
        remove(tree)
        tree.mkdir(mode=0o700)
        unpack(archive, tree, Bounds(bytes=most, entries=MAX_ENTRIES), check)
        return self._checked(tree, (), began, check)

    def _checked(
        self, tree: Path, received: tuple[Received, ...], began: float, check: CheckStopped
    ) -> Content:
        found = content_of(
            tree, {each.name: each.digest for each in received if each.digest}, check
        )
        keep(tree, check)
        return self._published(tree, found.digest, found.bytes, began)

    def _published(self, tree: Path, digest: str, size: int, began: float) -> Content:
        self._folder.publish(tree, digest)
        return Content(
            digest,
            size,
            seal=seal_of(self._folder.path(digest)),
            seconds=time.monotonic() - began,
            last_used=time.time(),
        )


def _key(storage_uri: str, version: str, fingerprint: str) -> str:
    text = f"{storage_uri}\0{version}\0{fingerprint}"
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


async def _stoppable(work: Callable[[CheckStopped], T]) -> T:
    """Run blocking work in a thread; when this is cancelled the work is told, and waited for."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    running = asyncio.ensure_future(asyncio.to_thread(work, check))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # nobody is left to hear of it
        raise
