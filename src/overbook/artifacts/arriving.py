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
from pathlib import Path
from typing import Final, TypeVar

from overbook.artifacts.address import Asked
from overbook.artifacts.archives import Bounds, unpack
from overbook.artifacts.digests import content_of
from overbook.artifacts.errors import ArtifactError, SourceError
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
from overbook.artifacts.transfer import Transfer
from overbook.artifacts.walk import MAX_ENTRIES

_UNPACKED: Final = ".unpacked"

T = TypeVar("T")


class _Stopped(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """``fingerprint``: of the files at the source, as they were when they were brought."""

    content: Content
    fingerprint: str


class Arrivals:
    """``began``: is told of each fetch, so that its progress can be shown."""

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
            content = self._published(tree, Content(found.digest, found.bytes), began)
        finally:
            self._folder.drop_incoming(key)
        return Arrived(content, fingerprint)

    async def fetched(
        self,
        asked: Asked,
        listing: Listing,
        transfer: Transfer,
        announce: Callable[[Arrived], None],
    ) -> Arrived:
        """From elsewhere. Raises SourceError, ArtifactError, OSError.

        ``announce`` is told what it is before that appears: who is killed in between finds either the folder, and what
        it is, or what was collected.
        """
        began = time.monotonic()
        key = _key(asked.storage_uri, asked.version, listing.fingerprint)
        async with self._space.room(listing.bytes, asked.storage_uri):
            into = await asyncio.to_thread(self._folder.incoming, key)
            try:
                received = await self._fetcher.bring(asked, listing, into, transfer.came)
                tree, content = await _stoppable(
                    lambda check: self._checked(listing, into, received, check)
                )
                announce(Arrived(content, listing.fingerprint))
                content = await _stoppable(lambda check: self._published(tree, content, began))
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

    def _checked(
        self, listing: Listing, into: Path, received: tuple[Received, ...], check: CheckStopped
    ) -> tuple[Path, Content]:
        """The folder that is to be published, durable, and what is in it."""
        tree, known = into, {each.name: each.digest for each in received if each.digest}
        if listing.whole:
            tree, known = into.with_name(into.name + _UNPACKED), {}
            remove(tree)
            tree.mkdir(mode=0o700)
            bounds = Bounds(bytes=self._space.spare(), entries=MAX_ENTRIES)
            for each in received:
                unpack(into / each.name, tree, bounds, check)
        found = content_of(tree, known, check)
        keep(tree, check)
        return tree, Content(found.digest, found.bytes)

    def _published(self, tree: Path, content: Content, began: float) -> Content:
        self._folder.publish(tree, content.digest)
        return Content(
            content.digest,
            content.bytes,
            seal=seal_of(self._folder.path(content.digest)),
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
