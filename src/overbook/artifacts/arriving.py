"""Brings one content into the folder of the cache: by a copy of local files, or from a source elsewhere. The way is the
same for both: collect, check, digest, make durable, seal, publish by one rename.

What was collected when a fetch broke off stays and is gone on with. Whether a content is wanted, shared or must leave
is `cache`'s.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import shutil
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from overbook.artifacts.address import Asked
from overbook.artifacts.archive_sizes import ArchiveSizes
from overbook.artifacts.archives import Bounds, TooManyBytes, unpack
from overbook.artifacts.digests import Digested, content_of
from overbook.artifacts.errors import ArtifactError, NoRoomYet, SourceError, Trouble
from overbook.artifacts.fetching import Fetcher
from overbook.artifacts.folder import ContentFolder, remove
from overbook.artifacts.index import Content
from overbook.artifacts.keeping import keep
from overbook.artifacts.local import copy_artifact
from overbook.artifacts.seals import seal_of
from overbook.artifacts.sources.protocol import Listing, Progress, Received
from overbook.artifacts.space import Beside, Space, Urgency
from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.survey import look
from overbook.artifacts.transfer import Brought, Transfer
from overbook.artifacts.walk import MAX_ENTRIES
from overbook.manifests.quantities import amount

_UNPACKED: Final = ".unpacked"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")


class _Stopped(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """``fingerprint``: of the files at the source, as they were when they were brought. ``brought``: what their fetch
    took, where they came from elsewhere just now.
    """

    content: Content
    fingerprint: str
    brought: Brought | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the cache knows of contents. ``holding``: nobody has these files leave while the block runs; ``content``:
    what is known of them, None where nothing is.
    """

    holding: Callable[[str], AbstractContextManager[None]]
    content: Callable[[str], Content | None]


class Arrivals:
    """What arrived is there and stays for as long as the caller's block runs, and has its room on the disk."""

    def __init__(self, folder: ContentFolder, fetcher: Fetcher, space: Space, known: Known) -> None:
        self._folder = folder
        self._fetcher = fetcher
        self._space = space
        self._known = known
        self._archives = ArchiveSizes()

    @asynccontextmanager
    async def copied(self, path: str, version: str, urgency: Urgency) -> AsyncIterator[Arrived]:
        """From this machine. Raises ArtifactError, OSError."""
        began = time.monotonic()
        seen = await asyncio.to_thread(look, path, version)
        # A copy that is broken off is begun anew, so each has a folder of its own.
        key = uuid.uuid4().hex
        async with self._space.room(seen.bytes, path, urgency), self._collecting(key):
            tree = await asyncio.to_thread(self._folder.incoming, key)
            try:
                found = await _stoppable(
                    lambda check: copy_artifact(Path(path), tree, check, version)
                )
                async with self._published(tree, found, began, _nobody, key) as content:
                    yield Arrived(content, seen.fingerprint)
            except BaseException:
                await asyncio.to_thread(self._folder.drop_incoming, key)
                raise

    @asynccontextmanager
    async def fetched(
        self,
        asked: Asked,
        listing: Listing,
        transfer: Transfer,
        announce: Callable[[Arrived], None],
        urgency: Urgency,
    ) -> AsyncIterator[Arrived]:
        """From elsewhere. Raises SourceError, ArtifactError, OSError.

        ``announce`` is told what it is before that appears, if nobody knows it: who is killed in between finds either
        the folder and what it is, or what was collected.
        """
        began = time.monotonic()
        key = _key(asked.storage_uri, asked.version, listing.fingerprint)
        self._folder.begin(key, asked.place)
        try:
            async with (
                self._checked(asked, listing, key, transfer, urgency) as (tree, found),
                self._published(
                    tree,
                    found,
                    began,
                    lambda content: announce(Arrived(content, listing.fingerprint)),
                    key,
                ) as content,
            ):
                yield Arrived(content, listing.fingerprint, transfer.ended(time.monotonic()))
        finally:
            self._folder.rest(key)

    @asynccontextmanager
    async def _collecting(self, key: str) -> AsyncIterator[None]:
        """What is left of it where it was broken off counts as what it takes on the disk."""
        try:
            yield
        except BaseException:
            await asyncio.to_thread(self._folder.measure, key)
            raise

    @asynccontextmanager
    async def _checked(
        self, asked: Asked, listing: Listing, key: str, transfer: Transfer, urgency: Urgency
    ) -> AsyncIterator[tuple[Path, Digested]]:
        """The folder of its files as they are to be published, and what they are."""
        # Who unpacks layers of images says nowhere how much is in them: usually little more than they are long.
        whole = listing.bytes * (2 if listing.packed else 1)
        needed = max(0, whole - self._folder.begun(key))
        try:
            room = self._space.room(needed, asked.storage_uri, urgency)
            async with room, self._collecting(key):
                into = await asyncio.to_thread(self._folder.incoming, key)
                transfer.begins(time.monotonic())
                progress = _bounded(asked, listing, transfer.came, self._space)
                received = await self._fetcher.bring(asked, listing, into, progress)
                if not listing.whole:
                    known = {each.name: each.digest for each in received if each.digest}
                    yield into, await _stoppable(lambda check: _kept(into, known, check))
                    return
                # The archive is on the disk from now on, and no more of what comes.
                await asyncio.to_thread(self._folder.measure, key)
            unpacked = self._unpacked(asked, key, into, received, urgency)
            async with self._collecting(key), unpacked as tree:
                yield tree, await _stoppable(lambda check: _kept(tree, {}, check))
        except SourceError as error:
            if not error.passing:
                await asyncio.to_thread(self._folder.drop_incoming, key)
            raise
        except ArtifactError:
            # They are the same bytes at the next try.
            await asyncio.to_thread(self._folder.drop_incoming, key)
            raise
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # Others need the disk as well.
            await asyncio.to_thread(self._folder.drop_incoming, key)
            raise SourceError(Trouble.NO_SPACE, self._full(asked, listing)) from error

    def _full(self, asked: Asked, listing: Listing) -> str:
        """What fills the disk has nothing to do with our budget, or the budget is larger than the disk."""
        try:
            free = amount(shutil.disk_usage(self._folder.root).free)
        except OSError:
            free = "nobody knows how many bytes"
        much = f"{amount(listing.bytes)} are needed, " if listing.bytes else ""
        return (
            f"the disk of {self._folder.root} is full, so {asked.storage_uri} cannot be fetched: {much}{free} "
            f"are free, and the cache may take {amount(self._space.budget)}; free some of the disk, or start with "
            "a smaller --cache-size, so that files of cold models leave instead"
        )

    @asynccontextmanager
    async def _unpacked(
        self, asked: Asked, key: str, into: Path, received: tuple[Received, ...], urgency: Urgency
    ) -> AsyncIterator[Path]:
        """The folder with what was in the archive. How much that is is known before others leave for it."""
        tree = into.with_name(into.name + _UNPACKED)
        needed, packed = await self._unpacked_bytes(asked, into, received)
        whose = f"{asked.storage_uri} (unpacked)"
        # While it waits others may have the room of the archive, or several could wait for each other for ever.
        self._folder.rest(key)
        async with self._space.room(needed, whose, urgency, beside=Beside(key, packed)):
            self._folder.begin(key, asked.place)
            if not all((into / each.name).is_file() for each in received):
                raise NoRoomYet(
                    f"{asked.storage_uri} waited for room to be unpacked, and its archive left the disk for others "
                    "meanwhile; it is fetched once more"
                )
            bounds = Bounds(bytes=needed, entries=MAX_ENTRIES)
            try:
                await _stoppable(partial(_unpack, into, received, tree, bounds))
                yield tree
            except BaseException:
                # It is begun anew each time, and would count as what the fetch has brought.
                await asyncio.to_thread(remove, tree)
                raise

    async def _unpacked_bytes(
        self, asked: Asked, into: Path, received: tuple[Received, ...]
    ) -> tuple[int, int]:
        """Of the archives' files together, and of the archives. Raises SourceError (REFUSED) where these are more than
        there ever is room for.
        """
        packed = sum(each.size for each in received)
        ever = self._space.ever
        archives = [into / each.name for each in received]
        most = max(0, ever - packed)
        try:
            needed = await _stoppable(lambda check: self._archives.of(archives, most, check))
        except TooManyBytes as error:
            raise SourceError(
                Trouble.REFUSED,
                f"{asked.storage_uri} unpacks to more than {amount(most)}: beside the archive itself "
                f"({amount(packed)}) that is more than the whole cache may ever take ({amount(ever)}); expected a "
                f"smaller model; or {self._space.way_out}",
            ) from error
        return needed, packed

    @asynccontextmanager
    async def _published(
        self,
        tree: Path,
        found: Digested,
        began: float,
        announce: Callable[[Content], None],
        key: str,
    ) -> AsyncIterator[Content]:
        """What else there is of its fetch, by this ``key``, goes."""
        with self._known.holding(found.digest):
            known = self._known.content(found.digest)
            if known is None:
                announce(Content(found.digest, found.bytes))

            def publish(check: CheckStopped) -> str:
                seal = self._publish(tree, found.digest, known)
                self._folder.drop_incoming(key)
                return seal

            seal = await _stoppable(publish)
            yield Content(
                found.digest,
                found.bytes,
                seal=seal,
                seconds=time.monotonic() - began,
                last_used=time.time(),
            )

    def _publish(self, tree: Path, digest: str, known: Content | None) -> str:
        """Its seal."""
        path = self._folder.path(digest)
        if self._folder.has(digest):
            # A seal of today would hide what somebody did to files that are here for long.
            seal = seal_of(path)
            if (known is not None and known.seal == seal) or content_of(path).digest == digest:
                self._folder.publish(tree, digest)
                return seal
            self._folder.discard_damaged(digest, self._folder.identity(digest))
        self._folder.publish(tree, digest)
        return seal_of(path)


def _nobody(content: Content) -> None:
    """A copy of what is on this machine is soon made once more."""


def _kept(tree: Path, known: Mapping[str, str], check: CheckStopped) -> Digested:
    found = content_of(tree, known, check)
    keep(tree, check)
    return found


def _unpack(
    into: Path, received: tuple[Received, ...], tree: Path, bounds: Bounds, check: CheckStopped
) -> None:
    remove(tree)
    tree.mkdir(mode=0o700)
    for each in received:
        unpack(into / each.name, tree, bounds, check)


def _bounded(asked: Asked, listing: Listing, progress: Progress, space: Space) -> Progress:
    """Where the source does not say how large its files are, they end where the cache does."""
    if all(each.size is not None for each in listing.files):
        return progress
    came, most, way_out = 0, space.budget, space.way_out

    def counted(count: int) -> None:
        nonlocal came
        came += count
        if came > most:
            told = f"{asked.storage_uri} has more than {amount(most)}, which is the whole cache"
            raise SourceError(Trouble.REFUSED, f"{told}; {way_out}")
        progress(count)

    return counted


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
