"""What the cache tells others: what a fetch took, which files left the disk for others, how much is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from overbook import metrics
from overbook.artifacts.address import Asked
from overbook.artifacts.cache import ArtifactCache
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.protocol import Listing, Progress, Received, Wanted
from tests.unit.artifacts.caches import FakeSource, fetch, opened, stays

A, B, C = "s3://models/a", "s3://models/b", "s3://models/c"


def a_source() -> FakeSource:
    return FakeSource({uri: {"model.bin": uri[-1].encode() * 1000} for uri in (A, B, C)})


def of(source: FakeSource, uri: str) -> str:
    return source.listing(uri).fingerprint


@contextmanager
def a_cache(folder: Path, source: FakeSource, budget: int = 1 << 40) -> Iterator[ArtifactCache]:
    made = opened(folder / "cache", source, budget)
    try:
        yield made
    finally:
        made.close()


async def test_a_fetch_is_told_once_to_all_who_waited_for_it(tmp_path: Path) -> None:
    source = a_source()
    source.seconds = 0.01
    before = metrics.FETCHED_BYTES._value.get()
    with a_cache(tmp_path, source) as cache:
        found = await asyncio.gather(*(fetch(cache, A, of(source, A), view) for view in "xy"))
        assert [each.brought.bytes for each in found if each.brought is not None] == [1000, 1000]
        assert all(each.brought is not None and each.brought.seconds > 0 for each in found)
        assert (await fetch(cache, A, of(source, A), "z")).brought is None
    assert metrics.FETCHED_BYTES._value.get() - before == 1000


async def test_what_was_here_already_was_not_brought(tmp_path: Path) -> None:
    source = a_source()
    with a_cache(tmp_path, source) as cache:
        assert (await fetch(cache, A, of(source, A))).brought is not None
        # Without a fingerprint the source is asked, and has what is here.
        assert (await fetch(cache, A, "")).brought is None
        (tmp_path / "local").write_bytes(b"weights")
        assert (await fetch(cache, str(tmp_path / "local"), "f")).brought is None
    assert source.brings[A] == 1


async def test_all_agents_hear_which_files_left_for_others(tmp_path: Path) -> None:
    source = a_source()
    heard: list[tuple[str, str]] = []

    def note(view: str, digest: str) -> None:
        heard.append((view, digest))

    before = metrics.FILES_LEFT._value.get()
    with a_cache(tmp_path, source, budget=2500) as cache:
        for view in ("x", "y"):
            cache.join(view, dict, partial(note, view), stays)
        first = await fetch(cache, A, of(source, A), "x")
        second = await fetch(cache, B, of(source, B), "x")
        assert heard == []
        cache.leave("y")
        await fetch(cache, C, of(source, C), "x")
        assert [view for view, _ in heard] == ["x"]
        gone = heard[0][1]
        assert not cache.is_here(gone)
        assert gone in (first.digest, second.digest)
        assert cache.known(Asked(A, fingerprint=of(source, A))) is not None
    assert metrics.FILES_LEFT._value.get() - before == 1


async def test_what_nobody_wants_goes_without_a_word(tmp_path: Path) -> None:
    source = a_source()
    heard: list[str] = []
    before = metrics.FILES_LEFT._value.get()
    with a_cache(tmp_path, source) as cache:
        cache.join("x", dict, heard.append, stays)
        found = await fetch(cache, A, of(source, A), "x")
        assert await cache.prune("x", set()) == 1
        assert not cache.is_here(found.digest)
    assert heard == []
    assert metrics.FILES_LEFT._value.get() == before


@dataclass(slots=True)
class Gated(FakeSource):
    """Brings nothing before it is told to."""

    began: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def bring(
        self,
        wanted: Wanted,
        secret: RemoteSecret | None,
        listing: Listing,
        into: Path,
        progress: Progress,
    ) -> tuple[Received, ...]:
        self.began.set()
        await self.go.wait()
        return await FakeSource.bring(self, wanted, secret, listing, into, progress)


async def test_what_is_under_way_is_counted_while_it_is(tmp_path: Path) -> None:
    source = Gated(a_source().files)
    source.troubles[B] = SourceError(Trouble.UNREACHABLE, "gone")
    idle = metrics.FETCHING._value.get()
    with a_cache(tmp_path, source) as cache:
        asked = Asked(A, fingerprint=of(source, A))
        assert cache.transferred(asked) is None
        task = asyncio.create_task(fetch(cache, A, of(source, A)))
        await source.began.wait()
        assert cache.transferred(asked) is not None
        assert metrics.FETCHING._value.get() == idle + 1
        source.go.set()
        await task
        assert (cache.transferred(asked), cache.fetch_rate()) == (None, 0.0)
        with pytest.raises(SourceError):
            await fetch(cache, B, of(source, B))
    assert metrics.FETCHING._value.get() == idle
