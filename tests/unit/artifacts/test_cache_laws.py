"""Laws of the cache, whatever several agents, sources, people with `rm` and restarts do at the same time.

- Of one address with one fingerprint there is one `bring` at a time (`FakeSource` asserts it).
- Files that somebody holds, or that are of a model in memory, never leave; what a fetch gave is whole while it is held.
- The files on the disk never take more than the budget.
- What is known by its fingerprint and on the disk is not asked of its source again, restarts included.
- What an agent wants stays known; equal bytes from two addresses lie in one folder.
- Agents are asked only for files of models in memory that are not pinned, and for no more than would make the room.
- Every fetch ends.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact, ArtifactCache
from overbook.artifacts.disk import Hold
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.kept import Use
from overbook.artifacts.relief import RoomWanted
from tests.unit.agent.virtual_time import VirtualTimeLoop, settle
from tests.unit.artifacts.caches import FakeSource, opened
from tests.unit.artifacts.slow_disk import SlowDisk

BLOCK = 4096
BUDGET = 6 * BLOCK
VIEWS = ("a", "b", "c")
PLACES = ("s3://b/1", "s3://b/2", "s3://b/3", "s3://b/4")
# Few, so that two addresses often have the same.
CONTENTS = [
    {"model": letter.encode() * BLOCK, **{f"{n}": letter.encode() * BLOCK for n in range(more)}}
    for letter, more in (("x", 0), ("x", 1), ("y", 0), ("y", 2), ("z", 4))
]
TROUBLES = [
    SourceError(Trouble.UNREACHABLE, "away"),
    SourceError(Trouble.NOT_FOUND, "gone"),
    SourceError(Trouble.BUSY, "later", retry_after=3.0),
    ArtifactError("no model"),
    OSError(5, "Input/output error"),
]


@dataclass(eq=False)
class Fetch:
    """One that an agent began; once it has its files it holds them until ``release`` is set."""

    view: str
    asked: Asked
    urgent: bool
    release: asyncio.Event = field(default_factory=asyncio.Event)
    artifact: Artifact | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    touched: bool = False  # somebody removed its files from outside
    task: asyncio.Task[None] | None = None


class CacheLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # In memory where that can be had: making files durable takes long on a disk.
        memory = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.root = Path(self.folder.name) / "cache"
        self.source = FakeSource(seconds=1.0)
        self.fetches: list[Fetch] = []
        self.prunes: list[asyncio.Task[int]] = []
        self.firm: dict[str, set[str]] = {view: set() for view in VIEWS}
        self.wanted: dict[str, set[str]] = {view: set() for view in VIEWS}
        # Of what is in memory: what stays there, and what its agent has told to leave.
        self.pinned: dict[str, set[str]] = {view: set() for view in VIEWS}
        self.leaving: dict[str, set[str]] = {view: set() for view in VIEWS}
        self.paths: dict[tuple[tuple[str, bytes], ...], Path] = {}

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        chance = random.Random(seed)
        self.loop = VirtualTimeLoop()
        asyncio.set_event_loop(self.loop)
        self.loop.set_default_executor(SlowDisk(self.loop, lambda: chance.uniform(0.0, 0.2)))
        for place in PLACES:
            self.source.files[place] = CONTENTS[PLACES.index(place) % len(CONTENTS)]
        self.open()

    def open(self) -> None:
        self.cache: ArtifactCache = opened(self.root, self.source, BUDGET)
        for view in VIEWS:
            self.firm[view], self.pinned[view], self.leaving[view] = set(), set(), set()
            ports = partial(self.uses, view), lambda digest: None, partial(self.relieve, view)
            self.cache.join(view, *ports)

    def uses(self, view: str) -> dict[str, Use]:
        return {digest: self.use(view, digest) for digest in self.wanted[view]}

    def use(self, view: str, digest: str) -> Use:
        if digest not in self.firm[view]:
            return Use(Hold.NONE, 0.0)
        stays = digest in self.pinned[view]
        return Use(Hold.FIRM, 0.0, in_memory=frozenset(() if stays else (f"model of {digest}",)))

    def relieve(self, view: str, wanted: RoomWanted) -> set[str]:
        """As agents do: as many leave as suffice, or none; those that leave need not leave at once."""
        files = {each.digest: each.bytes for each in wanted.files}
        assert files.keys() <= self.firm[view] - self.pinned[view]
        chosen: set[str] = set()
        for digest in sorted(files, key=lambda each: (each not in self.leaving[view], each)):
            if sum(files[each] for each in chosen) < wanted.missing:
                chosen.add(digest)
        enough = sum(files[each] for each in chosen) >= wanted.missing
        self.leaving[view] = chosen if enough else set()
        return set(self.leaving[view])

    def wait(self, seconds: float) -> None:
        async def waiting() -> None:
            await asyncio.sleep(seconds)

        self.loop.run_until_complete(waiting())

    async def fetch(self, fetch: Fetch) -> None:
        try:
            fetched = self.cache.fetched(fetch.asked, fetch.view, lambda: fetch.urgent)
            async with fetched as artifact:
                self.wanted[fetch.view].add(artifact.digest)
                fetch.artifact = artifact
                fetch.files = files_in(artifact.path)
                assert fetch.files in CONTENTS, "what was given is not whole"
                same = self.paths.setdefault(tuple(sorted(fetch.files.items())), artifact.path)
                assert same == artifact.path
                await fetch.release.wait()
        except ArtifactError:
            pass
        finally:
            fetch.artifact = None

    # -- what happens

    @rule(
        view=st.sampled_from(VIEWS),
        place=st.sampled_from(PLACES),
        now=st.booleans(),
        secret=st.sampled_from(["", "good", "bad"]),
        urgent=st.booleans(),
    )
    def begin_fetch(self, view: str, place: str, now: bool, secret: str, urgent: bool) -> None:
        fingerprint = self.source.listing(place).fingerprint if now else "older"
        fetch = Fetch(view, Asked(place, secret=secret, fingerprint=fingerprint), urgent)
        alone = not any(each.asked.storage_uri == place for each in self.fetches)
        known = self.cache.known(fetch.asked)
        here = known is not None and self.cache.is_here(known.digest)
        asked = (self.source.looks[place], self.source.brings[place])

        async def begin() -> None:
            fetch.task = asyncio.create_task(self.fetch(fetch))
            await settle()

        self.fetches.append(fetch)
        self.loop.run_until_complete(begin())
        if here:
            assert fetch.artifact is not None
        if here and alone:
            assert asked == (self.source.looks[place], self.source.brings[place])

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        fetch = data.draw(st.sampled_from(self.fetches))
        assert fetch.task is not None
        fetch.task.cancel()
        self.loop.run_until_complete(settle())

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.fetches)).release.set()
        self.loop.run_until_complete(settle())

    @rule(seconds=st.sampled_from([0.05, 0.2, 0.7, 3.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.wait(seconds)

    @rule(place=st.sampled_from(PLACES), content=st.sampled_from(CONTENTS))
    def source_changes(self, place: str, content: dict[str, bytes]) -> None:
        self.source.files[place] = content

    @rule(place=st.sampled_from(PLACES), trouble=st.sampled_from([None, *TROUBLES]))
    def source_fails(self, place: str, trouble: Exception | None) -> None:
        self.source.troubles.pop(place, None)
        if trouble is not None:
            self.source.troubles[place] = trouble

    @rule(view=st.sampled_from(VIEWS), pinned=st.sampled_from([False, False, True]), data=st.data())
    def load(self, view: str, pinned: bool, data: st.DataObject) -> None:
        """Its model is in memory from now on."""
        here = sorted(each for each in self.wanted[view] if self.cache.is_here(each))
        if here:
            digest = data.draw(st.sampled_from(here))
            self.firm[view].add(digest)
            if pinned:
                self.pinned[view].add(digest)

    @rule(view=st.sampled_from(VIEWS))
    def unload(self, view: str) -> None:
        self.firm[view].clear()
        self.pinned[view].clear()

    @rule(view=st.sampled_from(VIEWS), told=st.booleans())
    def models_leave(self, view: str, told: bool) -> None:
        """Those that were told to."""
        self.firm[view] -= self.leaving[view]
        if told:
            self.cache.changed()
        self.loop.run_until_complete(settle())

    @rule(view=st.sampled_from(VIEWS), data=st.data())
    def prune(self, view: str, data: st.DataObject) -> None:
        keep = {each for each in sorted(self.wanted[view]) if data.draw(st.booleans())}
        keep |= self.firm[view]
        held = {each.artifact.digest for each in self.fetches if each.artifact is not None}
        self.wanted[view] = keep | (held & self.wanted[view])
        pruning = self.cache.prune(view, set(self.wanted[view]))
        self.prunes.append(self.loop.create_task(pruning))
        self.loop.run_until_complete(settle())

    @precondition(lambda self: self.root.exists())
    @rule(data=st.data())
    def somebody_removes(self, data: st.DataObject) -> None:
        folders = sorted(each.name for each in self.root.iterdir() if len(each.name) == 40)
        gone = data.draw(st.sampled_from(["", *folders]))
        shutil.rmtree(self.root / gone)
        for each in self.fetches:
            if each.artifact is not None and gone in ("", each.artifact.digest):
                each.touched = True
        for digests in (*self.firm.values(), *self.pinned.values(), *self.leaving.values()):
            digests.difference_update([gone] if gone else list(digests))

    @rule()
    def restart(self) -> None:
        for each in self.fetches:
            assert each.task is not None
            each.task.cancel()
        # Whatever was begun ends.
        self.wait(1.0)
        assert all(each.task is not None and each.task.done() for each in self.fetches)
        self.fetches.clear()
        self.end_prunes()
        self.cache.close()
        self.open()

    def end_prunes(self) -> None:
        """Each looks at the disk, one after the other."""
        if self.prunes:
            self.loop.run_until_complete(asyncio.wait(self.prunes, timeout=60.0))
        for each in self.prunes:
            each.result()
        self.prunes.clear()

    # -- laws

    @invariant()
    def laws_hold(self) -> None:
        for each in list(self.fetches):
            assert each.task is not None
            if each.task.done():
                self.fetches.remove(each)
                if not each.task.cancelled():
                    each.task.result()
        for each in self.fetches:
            if each.artifact is not None and not each.touched:
                assert files_in(each.artifact.path) == each.files
        for view in VIEWS:
            for digest in self.firm[view]:
                assert (self.root / digest).is_dir(), "files of a model in memory left"
            for digest in self.wanted[view]:
                assert self.cache.held(digest, 1) is not None, "it was forgotten"
        assert bytes_in(self.root) <= BUDGET

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for each in self.fetches:
            each.release.set()
        self.wait(60.0)
        assert all(each.task is not None and each.task.done() for each in self.fetches)
        self.end_prunes()
        # Looks at the disk, too.
        self.loop.run_until_complete(self.cache.prune("a", self.wanted["a"]))
        usage = self.cache.usage()
        assert usage.coming == 0
        assert usage.used == bytes_in(self.root)
        self.cache.close()
        self.loop.close()
        asyncio.set_event_loop(None)
        self.folder.cleanup()


def files_in(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def bytes_in(root: Path) -> int:
    """Of all files but those of the index."""
    return sum(
        os.lstat(os.path.join(where, name)).st_size
        for where, _, names in os.walk(root)
        for name in names
        if not name.startswith("index.db")
    )


TestCacheLaws = CacheLaws.TestCase
TestCacheLaws.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
