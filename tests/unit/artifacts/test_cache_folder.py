"""The cache's folder itself: a link in its place, parts of what nobody wants any more, a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
from pathlib import Path

import pytest

from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from tests.unit.artifacts.caches import FakeSource, fetch, opened, stays

A, B = "s3://models/a", "s3://models/b"


def a_source() -> FakeSource:
    return FakeSource({uri: {"1": b"1" * 1000, "2": b"2" * 1000} for uri in (A, B)})


def mark(source: FakeSource, uri: str) -> str:
    return source.listing(uri).fingerprint


async def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".trash" / "precious").mkdir(parents=True)
    elsewhere.chmod(0o755)
    source = a_source()
    cache = opened(tmp_path / "cache", source)
    await fetch(cache, A, mark(source, A))
    (tmp_path / "cache").rename(tmp_path / "was")
    (tmp_path / "cache").symlink_to(elsewhere)
    with pytest.raises(
        ArtifactError, match=r"cache is a symbolic link to .*elsewhere, .* remove the link"
    ):
        await fetch(cache, B, mark(source, B))
    cache.close()
    again = opened(tmp_path / "cache", source)
    again.close()
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    assert (elsewhere / ".trash" / "precious").is_dir()


async def begun(cache_folder: Path) -> list[str]:
    await asyncio.sleep(0)
    return [each.name for each in (cache_folder / ".incoming").iterdir()]


async def test_parts_of_what_nobody_wants_any_more_go(tmp_path: Path) -> None:
    source = a_source()
    for uri in (A, B):
        source.troubles[uri] = SourceError(Trouble.UNREACHABLE, "away")
    cache = opened(tmp_path / "cache", source)
    for view in ("x", "y"):
        cache.join(view, dict, lambda digest: None, stays)
    for uri in (A, B):
        with pytest.raises(SourceError):
            await fetch(cache, uri, mark(source, uri))
    assert len(await begun(tmp_path / "cache")) == 2
    await cache.drop_parts("x", lambda: {A})
    assert len(await begun(tmp_path / "cache")) == 2, "y has not said what it wants"
    wanted = {B}
    await cache.drop_parts("y", lambda: wanted)
    assert len(await begun(tmp_path / "cache")) == 2
    wanted = set()
    await cache.drop_parts("x", lambda: {A})
    assert len(await begun(tmp_path / "cache")) == 1
    source.troubles.clear()
    await fetch(cache, A, mark(source, A))
    assert cache.usage().used == 2000
    cache.close()


async def test_parts_of_a_fetch_that_runs_stay(tmp_path: Path) -> None:
    source = a_source()
    source.seconds = 0.2
    cache = opened(tmp_path / "cache", source)
    cache.join("x", dict, lambda digest: None, stays)
    fetching = asyncio.create_task(fetch(cache, A, mark(source, A), "x"))
    await asyncio.sleep(0.15)
    await cache.drop_parts("x", frozenset)
    await fetching
    cache.close()


async def test_a_full_disk_is_told_in_numbers(tmp_path: Path) -> None:
    source = a_source()
    source.troubles[A] = OSError(errno.ENOSPC, "No space left on device")
    cache = opened(tmp_path / "cache", source, budget=1 << 20)
    with contextlib.closing(cache), pytest.raises(SourceError) as raised:
        await fetch(cache, A, mark(source, A))
    assert raised.value.trouble is Trouble.NO_SPACE
    told = str(raised.value)
    assert re.search(
        r"1.95KiB \(2000 bytes\) are needed, \S+iB \(\d+ bytes\) are free, and the cache may take 1MiB",
        told,
    )
