"""The cache of artifacts of one machine: what is asked for goes in, a local, checked, read-only folder comes out.

One download or copy at a time for whatever is the same, however many models and replicas want it; equal contents are
kept once. Several agents use it, each by a view of its own (`views`): a content is known for as long as one of them
wants it, and its files stay as long as there is room, or its model is in memory. What is on the disk under a known
fingerprint is used without asking anybody. Which files leave is decided in `disk`; what is at a source is asked by
`fetching`; how files arrive is written in `arriving`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from overbook import metrics
from overbook.artifacts.address import Asked, is_remote, local_path
from overbook.artifacts.arriving import Arrivals, Arrived
from overbook.artifacts.digests import content_of
from overbook.artifacts.disk import Hold, Kept
from overbook.artifacts.errors import ArtifactError, SourceError
from overbook.artifacts.fetching import Fetcher, survey_of
from overbook.artifacts.folder import ContentFolder
from overbook.artifacts.index import Content, Index
from overbook.artifacts.seals import seal_of
from overbook.artifacts.shared import SharedWork
from overbook.artifacts.space import Space, Usage
from overbook.artifacts.survey import Survey
from overbook.artifacts.transfer import Transfer, Transferred
from overbook.database import tell_log


@dataclass(frozen=True, slots=True)
class Artifact:
    """``path``: the folder of its files, read-only and shared; they may have left the disk meanwhile. ``bytes``: of its
    files. ``fingerprint``: of the files at their address, as they were when they were brought.
    """

    path: Path
    digest: str
    bytes: int
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """What one agent does with a content. ``last_used``: Unix seconds."""

    hold: Hold
    last_used: float


# What an agent does with contents, by digest, at this moment.
Uses = Callable[[], Mapping[str, Use]]


class ArtifactCache:
    """All methods are for one event loop. Making one opens its index and looks at its folder: blocking, brief.

    ``budget``: bytes of files on the disk.
    """

    def __init__(
        self,
        root: Path,
        fetcher: Fetcher,
        *,
        budget: int,
        tell: Callable[[str], None] = tell_log,
        machine: str = "",
    ) -> None:
        self._machine = machine
        self._folder = ContentFolder(root)
        self._folder.open(time.time())
        self._index = Index(root / "index.db", tell)
        self._fetcher = fetcher
        self._space = Space(budget, kept=self._kept, discard=self._make_leave, now=time.time)
        self._arrivals = Arrivals(self._folder, fetcher, self._space)
        self._works: SharedWork[tuple[str, str], Arrived] = SharedWork("fetch")
        self._transfers: dict[tuple[str, str], Transfer] = {}
        self._views: dict[str, Uses] = {}
        # Are told of each address at which somebody looked with success.
        self.listeners: list[Callable[[Asked], None]] = []
        self._held: Counter[str] = Counter()
        # Who waits for a fetch that others began, and what of these arrived already.
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._arrived: dict[tuple[str, str], str] = {}
        # Files of which nothing is known, as where the index was lost.
        self._strangers = {
            digest for digest in self._folder.digests if self._index.content(digest) is None
        }

    def close(self) -> None:
        self._index.close()

    # -- who uses it

    def join(self, view: str, uses: Uses) -> None:
        """From now on this agent's word counts for what may leave."""
        self._views[view] = uses

    def leave(self, view: str) -> None:
        """It ends, and may come back: what it wants stays, as nobody can tell what it is used for."""
        self._views.pop(view, None)

    def only(self, views: set[str]) -> None:
        """Of agents there are none but these any more."""
        for gone in self._index.holders - views:
            self._index.let_go(gone, ())
        self._space.changed()

    async def prune(self, view: str, keep: set[str]) -> int:
        """This agent wants nothing but these; how many contents went because nobody does."""
        self._index.let_go(view, keep)
        known = {each.digest for each in self._index.contents} | self._strangers
        self._strangers = set()
        unwanted = [
            digest for digest in known if not (self._index.is_held(digest) or self._is_held(digest))
        ]
        await self._throw_away(unwanted)
        return len(unwanted)

    @contextmanager
    def holding(self, digest: str) -> Iterator[None]:
        """Its files do not leave while the block runs, if they are here."""
        self._held[digest] += 1
        try:
            yield
        finally:
            self._held[digest] -= 1
            if not self._held[digest]:
                del self._held[digest]
                self._space.changed()

    # -- what is where

    async def look(self, asked: Asked) -> Survey:
        """What is at an address elsewhere: nobody is asked where it names one content for all time, and that is known.

        Raises SourceError.
        """
        survey = self._index.pinned(asked.place)
        if survey is None:
            listing = await self._fetcher.look(asked)
            survey = survey_of(listing)
            if listing.pinned:
                self._index.pin(asked.place, survey)
        for each in self.listeners:
            each(asked)
        return survey

    def known(self, asked: Asked) -> Content | None:
        """What was fetched for this at some time; its files may have left."""
        return self._index.at(asked.place, asked.fingerprint) if asked.fingerprint else None

    def hold(self, digest: str, view: str) -> None:
        """This agent wants it."""
        self._index.hold(digest, view)

    def is_here(self, digest: str) -> bool:
        """Whether its files are on the disk."""
        return self._folder.has(digest)

    def held(self, digest: str, size: int) -> Artifact | None:
        """An artifact of ``size`` bytes that was fetched at some time; None when nobody knows it any more."""
        if self._index.content(digest) is None and not self._folder.has(digest):
            return None
        return self.artifact(Content(digest, size))

    def artifact(self, content: Content, fingerprint: str = "") -> Artifact:
        return Artifact(
            self._folder.path(content.digest), content.digest, content.bytes, fingerprint
        )

    def note(self, digest: str, facts: str) -> None:
        """What an agent found out about the content, for after a restart."""
        self._index.note(digest, facts=facts)

    def usage(self) -> Usage:
        return self._space.usage()

    def transferred(self, asked: Asked) -> Transferred | None:
        """How far its fetch is; None while there is none."""
        transfer = self._transfers.get((asked.place, asked.fingerprint))
        return None if transfer is None else transfer.at(time.monotonic())

    # -- bringing

    @asynccontextmanager
    async def fetched(self, asked: Asked, view: str) -> AsyncIterator[Artifact]:
        """The artifact, brought here unless it is here already; its files stay while the block runs.

        Raises ArtifactError.

        Without a fingerprint nothing is remembered. Cancelling stops a fetch that nobody else waits for; what it
        brought is gone on with.
        """
        if (found := self._find(asked)) is None:
            found = await self._joined(asked, view)
        with self.holding(found.digest):
            self._index.hold(found.digest, view)
            yield found

    async def _joined(self, asked: Asked, view: str) -> Artifact:
        """What others may be fetching already. Until everybody who waits for it has it, it is held for them."""
        key = (asked.place, asked.fingerprint)
        self._waiting[key] += 1
        try:
            arrived = await self._works.join(key, lambda: self._bring(asked, view))
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
                self._arrived.pop(key, None)
        return self.artifact(arrived.content, arrived.fingerprint)

    def _find(self, asked: Asked) -> Artifact | None:
        content = self.known(asked)
        if content is None or not self._folder.has(content.digest):
            return None
        return self.artifact(content, asked.fingerprint)

    async def _bring(self, asked: Asked, view: str) -> Arrived:
        try:
            if is_remote(asked.storage_uri):
                arrived = await self._fetched(asked, view)
            else:
                path = local_path(asked.storage_uri, self._machine)
                arrived = await self._arrivals.copied(path, asked.version)
        except SourceError as error:
            metrics.FETCHES.labels(error.trouble.value).inc()
            raise
        except OSError as error:
            raise ArtifactError(
                f"{asked.storage_uri} cannot be kept in {self._folder.root}: {error}"
            ) from error
        self._put(asked, view, arrived)
        return arrived

    def _put(self, asked: Asked, view: str, arrived: Arrived) -> None:
        marks = {asked.fingerprint, arrived.fingerprint} if asked.fingerprint else set()
        self._index.put(asked.place, marks - {""}, arrived.content)
        self._index.hold(arrived.content.digest, view)
        self._arrived[asked.place, asked.fingerprint] = arrived.content.digest

    async def _fetched(self, asked: Asked, view: str) -> Arrived:
        listing = await self._fetcher.listing(asked)
        here = self._index.at(asked.place, listing.fingerprint)
        if here is not None and self._folder.has(here.digest):
            return Arrived(here, listing.fingerprint)
        key = (asked.place, asked.fingerprint)
        self._transfers[key] = transfer = Transfer(listing.bytes or None, time.monotonic())
        try:
            announce = partial(self._put, asked, view)
            arrived = await self._arrivals.fetched(asked, listing, transfer, announce)
        finally:
            del self._transfers[key]
        metrics.FETCHES.labels("ok").inc()
        metrics.FETCHED_BYTES.inc(transfer.at(time.monotonic()).done)
        if listing.pinned:
            self._index.pin(asked.place, survey_of(listing))
        return arrived

    # -- whether it is as it was

    async def intact(self, digest: str) -> bool:
        """Whether nobody touched its files since they were published, as far as a look at names, sizes and times tells;
        where that does not, all of it is read. A damaged one is removed, so that the next fetch brings it anew.
        """
        known = self._index.content(digest)
        if known is not None and known.seal:
            try:
                if await asyncio.to_thread(seal_of, self._folder.path(digest)) == known.seal:
                    return True
            except OSError:
                pass
        return await self.verify(digest)

    async def verify(self, digest: str) -> bool:
        """Read the artifact again, all of it. A damaged one is removed, so that the next fetch brings it anew."""
        path = self._folder.path(digest)
        try:
            found = await asyncio.to_thread(content_of, path)
            whole = found.digest == digest
        except (ArtifactError, OSError):
            whole = False
        if not whole:
            await asyncio.to_thread(self._folder.discard, [digest])
        return whole

    # -- leaving

    def _kept(self) -> list[Kept]:
        uses = [view() for view in self._views.values()]
        return [
            Kept(
                each.digest,
                each.bytes,
                self._hold_of(each.digest, uses),
                max(
                    [each.last_used, *(u[each.digest].last_used for u in uses if each.digest in u)]
                ),
                each.seconds,
            )
            for each in self._index.contents
            if self._folder.has(each.digest)
        ]

    def _hold_of(self, digest: str, uses: list[Mapping[str, Use]]) -> Hold:
        held = [each[digest].hold for each in uses if digest in each]
        if self._is_held(digest):
            held.append(Hold.BRIEFLY)
        # Of an agent that is not there nobody can say what it has in memory.
        if self._index.held_by(digest) - self._views.keys():
            held.append(Hold.FIRM)
        return max(held, default=Hold.NONE)

    def _is_held(self, digest: str) -> bool:
        """Whether somebody reads its files, or will as soon as they are told that these are here."""
        return digest in self._held or digest in self._arrived.values()

    async def _make_leave(self, digests: tuple[str, ...]) -> None:
        """Their files leave; what is known of them stays, and they can be fetched again."""
        await asyncio.to_thread(self._folder.discard, digests)
        metrics.FILES_LEFT.inc(len(digests))

    async def _throw_away(self, digests: list[str]) -> None:
        await asyncio.to_thread(self._folder.discard, digests)
        self._index.forget(digests)
        self._space.changed()
