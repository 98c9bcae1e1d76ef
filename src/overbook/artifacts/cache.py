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
from collections.abc import AsyncIterator, Callable, Iterator, Sequence, Set
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from overbook import metrics
from overbook.artifacts.address import Asked, is_remote, local_path
from overbook.artifacts.arriving import Arrivals, Arrived, Known
from overbook.artifacts.digests import content_of
from overbook.artifacts.disk import Hold, Kept
from overbook.artifacts.errors import ArtifactError, SourceError
from overbook.artifacts.fetching import Fetcher, survey_of
from overbook.artifacts.folder import ContentFolder
from overbook.artifacts.index import Content, Index
from overbook.artifacts.kept import Holders, Uses
from overbook.artifacts.relief import InMemory, Relief, Relieve, Relieved
from overbook.artifacts.seals import seal_of
from overbook.artifacts.shared import SharedWork
from overbook.artifacts.space import Disk, DiskShare, Space, Urgency, Usage
from overbook.artifacts.survey import Survey
from overbook.artifacts.transfer import Brought, Transferred, Transfers
from overbook.database import tell_log


@dataclass(frozen=True, slots=True)
class Artifact:
    """``path``: the folder of its files, read-only and shared; they may have left the disk meanwhile. ``bytes``: of its
    files. ``fingerprint``: of the files at their address, as they were when they were brought. ``brought``: what their
    fetch took, where whoever asked had to wait for one.
    """

    path: Path
    digest: str
    bytes: int
    fingerprint: str = ""
    brought: Brought | None = field(default=None, compare=False)


# From where an agent wants anything, at this moment.
Places = Callable[[], Set[str]]
# An agent is told the digest of files that leave the disk for others.
Left = Callable[[str], None]
# Whether somebody waits for it at this moment.
Urgent = Callable[[], bool]


def not_urgent() -> bool:
    """Nobody waits for it."""
    return False


@dataclass(frozen=True, slots=True)
class _View:
    uses: Uses
    left: Left
    relieve: Relieve


class ArtifactCache:
    """All methods are for one event loop. Making one opens its index and looks at its folder: blocking, brief.

    Large, as what is here, what arrives and what leaves must be seen in one turn.

    ``budget``: bytes of files on the disk.
    """

    def __init__(
        self,
        root: Path,
        fetcher: Fetcher,
        *,
        budget: int | DiskShare,
        tell: Callable[[str], None] = tell_log,
        machine: str = "",
    ) -> None:
        self._machine = machine
        self._folder = ContentFolder(root)
        self._folder.open(time.time())
        self._index = Index(root / "index.db", tell)
        self._fetcher = fetcher
        disk = Disk(
            look=self._look_at_disk,
            used=self._used,
            kept=self._kept,
            doom=self._doom,
            discard=self._discard,
            relieve=self._relieve,
            relieved=lambda: self._relief.end(self._relievers()),
        )
        self._relief = Relief()
        self._space = Space(budget, disk, now=time.time)
        known = Known(self.holding, self._index.content)
        self._arrivals = Arrivals(self._folder, fetcher, self._space, known)
        self._works: SharedWork[Asked, Arrived] = SharedWork("fetch")
        self._checks: SharedWork[str, bool] = SharedWork("verify")
        self._transfers = Transfers()
        self._views: dict[str, _View] = {}
        self._places: dict[str, Places] = {}
        # Are told of each address at which somebody looked with success.
        self.listeners: list[Callable[[Asked], None]] = []
        self._held: Counter[str] = Counter()
        # Who waits for a fetch that others began, and what of these arrived already.
        self._waiting: dict[Asked, list[Urgent]] = {}
        self._arrived: dict[Asked, str] = {}
        # Files of which nothing is known, as where the index was lost.
        self._strangers = {
            digest for digest in self._folder.digests if self._index.content(digest) is None
        }

    def close(self) -> None:
        self._index.close()

    # -- who uses it

    def join(self, view: str, uses: Uses, left: Left, relieve: Relieve) -> None:
        """From now on this agent's word counts for what may leave, it is told of what ``left`` for others, and asked to
        have models leave memory.
        """
        self._views[view] = _View(uses, left, relieve)

    def leave(self, view: str) -> None:
        """It ends, and may come back: what it wants stays, as nobody can tell what it is used for."""
        if (gone := self._views.pop(view, None)) is not None:
            self._note_uses(gone.uses)
        self._places.pop(view, None)

    def only(self, views: set[str]) -> None:
        """Of agents there are none but these any more."""
        for gone in self._index.holders - views:
            self._index.let_go(gone, ())
        self._space.changed()

    async def prune(self, view: str, keep: set[str]) -> int:
        """This agent wants nothing but these; how many contents went because nobody does."""
        self._index.let_go(view, keep)
        if (known := self._views.get(view)) is not None:
            self._note_uses(known.uses)
        went = await self._space.throw_away(self._unwanted)
        await self._space.trim()
        return went

    async def drop_parts(self, view: str, places: Places) -> None:
        """What was fetched in part for nobody goes. ``places``: from where this agent wants anything."""
        self._places[view] = places

        def of_nobody() -> tuple[str, ...]:
            wanted = {place for each in self._places.values() for place in each()}
            return self._folder.begun_elsewhere(wanted)

        # Of an agent that is not there nobody can say what it wants.
        if self._places.keys() >= self._views.keys() | self._index.holders:
            await self._space.throw_away(of_nobody)

    def _unwanted(self) -> tuple[str, ...]:
        """Contents that nobody wants any more; nothing is known of them from now on."""
        known = {each.digest for each in self._index.contents} | self._strangers
        self._strangers = set()
        busy = self._busy()
        unwanted = tuple(each for each in known - busy if not self._index.is_held(each))
        self._index.forget(unwanted)
        return unwanted

    def _note_uses(self, uses: Uses) -> None:
        """For after a restart."""
        self._index.used((digest, each.last_used) for digest, each in uses().items())

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

    def changed(self) -> None:
        """Models left memory, or are about to: what they held is looked at anew."""
        self._space.changed()

    # -- what is where

    async def look(self, asked: Asked) -> Survey:
        """What is at an address elsewhere: nobody is asked where it names one content for all time, and that is known.

        Raises SourceError.
        """
        known = self._index.pinned(asked.place)
        if known is not None:
            return known
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
        """Whether its files are on the disk, and not about to leave it: what models leave memory for goes to who waits
        for its room, unless somebody has it already.
        """
        going = digest in self._space.promised and digest not in self._held
        return self._folder.has(digest) and not going

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
        return self._transfers.of(asked.place, time.monotonic())

    def fetch_rate(self) -> float:
        """Bytes per second of all fetches together, of late."""
        return self._transfers.rate(time.monotonic())

    # -- bringing

    @asynccontextmanager
    async def fetched(
        self, asked: Asked, view: str, urgent: Urgent = not_urgent
    ) -> AsyncIterator[Artifact]:
        """The artifact, brought here unless it is here already; its files stay while the block runs.

        Raises ArtifactError.

        ``urgent``: whether idle models may leave memory, so that their files make room for it.

        Without a fingerprint its address is asked each time. Cancelling stops a fetch that nobody else waits for; what
        it brought is gone on with.
        """
        if (found := self._find(asked)) is None:
            found = await self._joined(asked, view, urgent)
        with self.holding(found.digest):
            self._index.hold(found.digest, view)
            yield found

    async def _joined(self, asked: Asked, view: str, urgent: Urgent) -> Artifact:
        """What others may be fetching already. Until everybody who waits for it has it, it is held for them."""
        self._waiting.setdefault(asked, []).append(urgent)
        try:
            arrived = await self._works.join(
                asked, lambda: self._bring(asked, view), lane=asked.place
            )
            found = self.artifact(arrived.content, arrived.fingerprint)
            return replace(found, brought=arrived.brought)
        finally:
            self._waiting[asked].remove(urgent)
            if not self._waiting[asked]:
                del self._waiting[asked]
                self._arrived.pop(asked, None)

    def _find(self, asked: Asked) -> Artifact | None:
        content = self.known(asked)
        if content is None or not self.is_here(content.digest):
            return None
        return self.artifact(content, asked.fingerprint)

    async def _bring(self, asked: Asked, view: str) -> Arrived:
        try:
            async with self._arriving(asked, view) as arrived:
                self._put(asked, view, arrived)
                self._arrived[asked] = arrived.content.digest
        except SourceError as error:
            metrics.FETCHES.labels(error.trouble.value).inc()
            raise
        except OSError as error:
            raise ArtifactError(
                f"{asked.storage_uri} cannot be kept in {self._folder.root}: {error}"
            ) from error
        return arrived

    def _put(self, asked: Asked, view: str, arrived: Arrived) -> None:
        marks = {asked.fingerprint, arrived.fingerprint} - {""}
        self._index.put(asked.place, marks, arrived.content)
        self._index.hold(arrived.content.digest, view)

    @asynccontextmanager
    async def _arriving(self, asked: Asked, view: str) -> AsyncIterator[Arrived]:
        urgency = Urgency(view, lambda: any(each() for each in self._waiting.get(asked, ())))
        if not is_remote(asked.storage_uri):
            path = local_path(asked.storage_uri, self._machine)
            async with self._arrivals.copied(path, asked.version, urgency) as arrived:
                yield arrived
            return
        listing = await self._fetcher.listing(asked)
        here = self._index.at(asked.place, listing.fingerprint)
        if here is not None and self.is_here(here.digest):
            with self.holding(here.digest):
                yield Arrived(here, listing.fingerprint)
            return
        transferring = self._transfers.under_way(asked.place, listing.bytes, time.monotonic())
        with transferring as transfer, metrics.FETCHING.track_inprogress():
            announce = partial(self._put, asked, view)
            arriving = self._arrivals.fetched(asked, listing, transfer, announce, urgency)
            async with arriving as arrived:
                yield arrived
        _count(arrived.brought)
        if listing.pinned:
            self._index.pin(asked.place, survey_of(listing))
        if listing.packed:
            # What was in there may be more than there was room for.
            await self._space.trim()

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
            except (ArtifactError, OSError):
                pass
        return await self.verify(digest)

    async def verify(self, digest: str) -> bool:
        """Read the artifact again, all of it. A damaged one is removed, so that the next fetch brings it anew."""
        with self.holding(digest):
            return await self._checks.join(digest, lambda: self._verify(digest))

    async def _verify(self, digest: str) -> bool:
        identity = self._folder.identity(digest)
        seal = await asyncio.to_thread(_seal_if_whole, self._folder.path(digest), digest)
        if seal is None:
            await asyncio.to_thread(self._folder.discard_damaged, digest, identity)
            self._space.changed()
            return False
        self._index.seal(digest, seal)
        return True

    # -- leaving

    async def _look_at_disk(self) -> None:
        await asyncio.to_thread(self._folder.look)

    def _used(self) -> int:
        here = self._folder.digests
        return sum(each.bytes for each in self._index.contents if each.digest in here) + sum(
            size for _, size, _ in self._folder.fetches
        )

    def _kept(self) -> list[Kept]:
        here = self._folder.digests
        kept = [
            Kept(key, size, Hold.BRIEFLY if runs else Hold.NONE, 0.0, half=True)
            for key, size, runs in self._folder.fetches
        ]
        holders = Holders(
            uses={name: view.uses() for name, view in self._views.items()},
            busy=self._busy(),
            absent=self._index.held_by_others(self._views.keys()),
            promised=self._space.promised,
        )
        return kept + holders.kept(each for each in self._index.contents if each.digest in here)

    def _busy(self) -> set[str]:
        """Contents whose files somebody reads, or will as soon as they are told that these are here."""
        return {*self._held, *self._arrived.values()}

    def _relievers(self) -> dict[str, Relieve]:
        return {name: view.relieve for name, view in self._views.items()}

    def _relieve(self, kept: Sequence[Kept], missing: int, agent: str, since: float) -> Relieved:
        busy = self._busy()
        held = [
            InMemory(each.digest, each.bytes, each.in_memory)
            for each in kept
            if each.in_memory and each.digest not in busy
        ]
        return self._relief.ask(held, missing, since, self._relievers(), agent)

    def _doom(self, names: tuple[str, ...]) -> None:
        """Their files leave; what is known of them stays, and they can be fetched again."""
        self._folder.doom(names)
        # Others were parts of fetches, or nobody wants them any more.
        left = [each for each in names if self._index.content(each) is not None]
        metrics.FILES_LEFT.inc(len(left))
        for view in tuple(self._views.values()):
            for digest in left:
                view.left(digest)

    async def _discard(self, names: tuple[str, ...]) -> None:
        await asyncio.to_thread(self._folder.discard, names)


def _count(brought: Brought | None) -> None:
    """A fetch that ended well."""
    metrics.FETCHES.labels("ok").inc()
    if brought is not None:
        metrics.FETCHED_BYTES.inc(brought.bytes)
        metrics.FETCH_SECONDS.observe(brought.seconds)


def _seal_if_whole(path: Path, digest: str) -> str | None:
    """The seal of files that are what they are named by; None where they are not. Blocking."""
    try:
        seal = seal_of(path)
        # What is touched while it is read is read again the next time.
        return seal if content_of(path).digest == digest else None
    except (ArtifactError, OSError):
        return None
