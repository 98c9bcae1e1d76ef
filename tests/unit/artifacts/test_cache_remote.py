"""What comes from elsewhere: asked for once, unpacked with room for it, gone on with, and never another's damage."""

from __future__ import annotations

import asyncio
import errno
import io
import tarfile
from pathlib import Path
from random import Random

import pytest

from overbook.artifacts import archive_sizes, arriving, space
from overbook.artifacts.address import Asked
from overbook.artifacts.archives import Bounds, unpack, unpacked_bytes
from overbook.artifacts.cache import ArtifactCache
from overbook.artifacts.disk import Hold
from overbook.artifacts.errors import ArtifactError, Postponed, SourceError, Trouble
from overbook.artifacts.kept import Use
from overbook.artifacts.stopping import CheckStopped
from tests.unit.artifacts.caches import FakeSource, fetch, opened, stays

URI = "s3://b/m"
FILES = {"model": b"m" * 4096, "more": b"n" * 4096}


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(files={URI: dict(FILES)})


def mark(source: FakeSource) -> str:
    return source.listing(URI).fingerprint


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def linked(size: int, links: int) -> bytes:
    """One file by many names."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("model")
        member.size = size
        tar.addfile(member, io.BytesIO(bytes(size)))
        for number in range(links):
            link = tarfile.TarInfo(f"l{number}")
            link.type, link.linkname = tarfile.LNKTYPE, "model"
            tar.addfile(link)
    return packed.getvalue()


def begun(root: Path) -> list[str]:
    return [each.name for each in (root / ".incoming").iterdir()]


async def test_what_is_known_is_asked_of_nobody_restarts_included(
    tmp_path: Path, source: FakeSource
) -> None:
    for _ in range(2):
        cache = opened(tmp_path / "cache", source)
        found = await fetch(cache, URI, mark(source))
        assert (found.path / "model").read_bytes() == FILES["model"]
        cache.close()
    assert (source.looks[URI], source.brings[URI]) == (1, 1)


async def test_without_a_fingerprint_the_source_is_asked_and_nothing_brought_twice(
    tmp_path: Path, source: FakeSource
) -> None:
    cache = opened(tmp_path / "cache", source)
    first, second = await fetch(cache, URI, ""), await fetch(cache, URI, "")
    assert first == second
    assert first.fingerprint == mark(source)
    assert (source.looks[URI], source.brings[URI]) == (2, 1)
    cache.close()


async def test_a_pinned_address_is_looked_at_once(tmp_path: Path, source: FakeSource) -> None:
    source.pinned.add(URI)
    cache = opened(tmp_path / "cache", source)
    assert await cache.look(Asked(URI)) == await cache.look(Asked(URI))
    cache.close()
    again = opened(tmp_path / "cache", source)
    await again.look(Asked(URI))
    assert source.looks[URI] == 1
    again.close()


async def test_who_asks_for_an_older_content_does_not_write_beside_who_asks_for_the_newer(
    tmp_path: Path, source: FakeSource
) -> None:
    """`FakeSource` refuses two that write into one folder."""
    source.seconds = 0.02
    cache = opened(tmp_path / "cache", source)
    found = await asyncio.gather(*(fetch(cache, URI, each) for each in ("", "old", mark(source))))
    assert len({each.path for each in found}) == 1
    assert {each.fingerprint for each in found} == {mark(source)}
    assert source.brings[URI] == 1
    cache.close()


async def test_two_copies_of_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model").write_bytes(b"x" * (1 << 20))
    cache = opened(tmp_path / "cache")
    uris = (str(folder), f"file://{folder}", f"file://localhost{folder}")
    found = await asyncio.gather(*(fetch(cache, uri, each) for uri in uris for each in "ab"))
    assert len({each.path for each in found}) == 1
    assert begun(tmp_path / "cache") == []
    cache.close()


async def test_a_bad_secret_is_no_others_failure(tmp_path: Path, source: FakeSource) -> None:
    cache = opened(tmp_path / "cache", source)
    bad, good = await asyncio.gather(
        fetch(cache, URI, "old", secret="bad"),
        fetch(cache, URI, "old", secret="good"),
        return_exceptions=True,
    )
    assert isinstance(bad, SourceError)
    assert not isinstance(good, BaseException)
    cache.close()


async def test_who_begins_again_at_once_waits_for_what_was_cancelled(
    tmp_path: Path, source: FakeSource
) -> None:
    source.seconds = 0.05
    cache = opened(tmp_path / "cache", source)
    for _ in range(3):
        left = asyncio.create_task(fetch(cache, URI, mark(source)))
        await asyncio.sleep(0.02)
        left.cancel()
    assert (await fetch(cache, URI, mark(source))).path.is_dir()
    cache.close()


async def test_what_was_brought_before_it_broke_off_is_kept_and_counted(
    tmp_path: Path, source: FakeSource
) -> None:
    cache = opened(tmp_path / "cache", source, budget=4 * 4096)
    source.troubles[URI] = SourceError(Trouble.UNREACHABLE, "away")
    with pytest.raises(SourceError, match="away"):
        await fetch(cache, URI, mark(source))
    assert len(begun(tmp_path / "cache")) == 1
    assert cache.usage().used == 4096
    cache.close()
    cache = opened(tmp_path / "cache", source, budget=4 * 4096)
    assert cache.usage().used == 4096
    del source.troubles[URI]
    await fetch(cache, URI, mark(source))
    assert begun(tmp_path / "cache") == []
    assert cache.usage().used == 2 * 4096
    cache.close()


async def test_what_was_broken_off_goes_for_others(tmp_path: Path, source: FakeSource) -> None:
    other = "s3://b/other"
    source.files[other] = {"model": b"o" * 8192}
    cache = opened(tmp_path / "cache", source, budget=2 * 4096)
    source.troubles[URI] = SourceError(Trouble.UNREACHABLE, "away")
    with pytest.raises(SourceError, match="away"):
        await fetch(cache, URI, mark(source))
    await fetch(cache, other, "")
    assert begun(tmp_path / "cache") == []
    cache.close()


async def test_what_will_not_pass_leaves_nothing(tmp_path: Path, source: FakeSource) -> None:
    cache = opened(tmp_path / "cache", source)
    source.troubles[URI] = SourceError(Trouble.NOT_ALLOWED, "it lets nobody in")
    with pytest.raises(SourceError, match="nobody in"):
        await fetch(cache, URI, "")
    assert begun(tmp_path / "cache") == []
    assert cache.usage().used == 0
    cache.close()


async def test_a_full_disk_is_not_kept_full(tmp_path: Path, source: FakeSource) -> None:
    cache = opened(tmp_path / "cache", source)
    source.troubles[URI] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SourceError, match=r"the disk of .* is full") as raised:
        await fetch(cache, URI, "")
    assert raised.value.trouble is Trouble.NO_SPACE
    assert begun(tmp_path / "cache") == []
    cache.close()


async def test_a_disk_that_fails_is_told_with_its_address(
    tmp_path: Path, source: FakeSource
) -> None:
    cache = opened(tmp_path / "cache", source)
    source.troubles[URI] = OSError(errno.EIO, "Input/output error")
    with pytest.raises(ArtifactError, match=r"s3://b/m cannot be kept in .*Input/output"):
        await fetch(cache, URI, "")
    cache.close()


async def test_an_archive_gets_room_for_what_is_in_it(tmp_path: Path, source: FakeSource) -> None:
    """However much that is: others leave for it."""
    source.whole.add(URI)
    source.files[URI] = {"m.tar.gz": archive(model=bytes(200_000))}
    source.files["s3://b/cold"] = {"model": b"c" * 150_000}
    cache = opened(tmp_path / "cache", source, budget=210_000)
    cache.join("a", dict, lambda digest: None, stays)
    await fetch(cache, "s3://b/cold", "")
    found = await fetch(cache, URI, "")
    assert found.bytes == 200_000
    assert begun(tmp_path / "cache") == []
    assert cache.usage().used == 200_000
    cache.close()


async def in_memory(cache: ArtifactCache, uri: str) -> None:
    """A model whose files stay."""
    held = await fetch(cache, uri, "")
    uses = {held.digest: Use(Hold.FIRM, 0.0, models=frozenset({"hot"}))}
    cache.join("a", lambda: uses, lambda digest: None, stays)


async def test_an_archive_gets_no_more_room_than_for_what_is_in_it(
    tmp_path: Path, source: FakeSource
) -> None:
    source.whole.add(URI)
    source.files[URI] = {"m.tar.gz": archive(model=bytes(1000_000))}
    source.files["s3://b/hot"] = {"model": b"h" * 300_000}
    source.files["s3://b/cold"] = {"model": b"c" * 400_000}
    cache = opened(tmp_path / "cache", source, budget=2000_000)
    await in_memory(cache, "s3://b/hot")
    cold = await fetch(cache, "s3://b/cold", "")
    found = await fetch(cache, URI, "")
    assert found.bytes == 1000_000
    assert cache.is_here(cold.digest)
    cache.close()


@pytest.mark.parametrize("links", [0, 1000])
async def test_an_archive_that_is_larger_than_the_cache_is_refused_before_others_leave(
    tmp_path: Path, source: FakeSource, links: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "unpack", None)
    source.whole.add(URI)
    source.files[URI] = {"m.tar.gz": linked(1000, links) if links else archive(m=bytes(200_000))}
    source.files["s3://b/hot"] = {"model": b"h" * 1000}
    source.files["s3://b/cold"] = {"model": b"c" * 50_000}
    cache = opened(tmp_path / "cache", source, budget=100_000)
    await in_memory(cache, "s3://b/hot")
    cold = await fetch(cache, "s3://b/cold", "")
    with pytest.raises(
        SourceError, match=r"s3://b/m unpacks to more than .* whole cache"
    ) as raised:
        await fetch(cache, URI, "")
    assert raised.value.trouble is Trouble.REFUSED
    assert cache.is_here(cold.digest)
    assert begun(tmp_path / "cache") == []
    cache.close()


async def test_an_archive_without_room_is_gone_through_once_and_not_unpacked(
    tmp_path: Path, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Path] = []

    def counts(path: Path, bounds: Bounds, check: CheckStopped) -> int:
        counted.append(path)
        return unpacked_bytes(path, bounds, check)

    monkeypatch.setattr(archive_sizes, "unpacked_bytes", counts)
    source.whole.add(URI)
    source.files[URI] = {"m.tar.gz": archive(model=bytes(80_000))}
    source.files["s3://b/hot"] = {"model": b"h" * 30_000}
    cache = opened(tmp_path / "cache", source, budget=100_000)
    await in_memory(cache, "s3://b/hot")
    with monkeypatch.context() as patched:
        patched.setattr(arriving, "unpack", None)
        for _ in range(3):
            with pytest.raises(SourceError, match=r"no room on disk .*it takes 78.12KiB") as raised:
                await fetch(cache, URI, "")
            assert (raised.value.trouble, raised.value.passing) == (Trouble.NO_SPACE, True)
            assert not isinstance(raised.value, Postponed)
    cache.leave("a")
    cache.join("a", dict, lambda digest: None, stays)
    assert (await fetch(cache, URI, "")).bytes == 80_000
    assert len(counted) == 1
    cache.close()


async def test_archives_that_are_in_each_others_way_are_unpacked_one_after_the_other(
    tmp_path: Path, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are here, and neither has room: one gives up in time, and the other goes on."""
    monkeypatch.setattr(space, "PATIENCE", 0.1)
    uris = ["s3://b/one.tgz", "s3://b/two.tgz"]
    for uri in uris:
        source.whole.add(uri)
        source.files[uri] = {"m.tar.gz": archive(model=Random(uri).randbytes(40_000))}
    source.seconds = 0.02
    cache = opened(tmp_path / "cache", source, budget=100_000)
    cache.join("a", dict, lambda digest: None, stays)
    waited = 0

    async def persistent(uri: str) -> int:
        nonlocal waited
        while True:
            try:
                return (await fetch(cache, uri, "")).bytes
            except Postponed:
                waited += 1

    async with asyncio.timeout(20):
        assert await asyncio.gather(*map(persistent, uris)) == [40_000, 40_000]
    assert 1 <= waited < 10
    assert begun(tmp_path / "cache") == []
    cache.close()


async def test_what_was_unpacked_in_part_is_not_kept(
    tmp_path: Path, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(archive: Path, into: Path, bounds: Bounds, check: CheckStopped) -> None:
        unpack(archive, into, bounds, check)
        raise OSError(errno.EIO, "Input/output error")

    source.whole.add(URI)
    packed = archive(model=bytes(80_000))
    source.files[URI] = {"m.tar.gz": packed}
    cache = opened(tmp_path / "cache", source)
    with monkeypatch.context() as patched:
        patched.setattr(arriving, "unpack", fails)
        with pytest.raises(ArtifactError, match="Input/output"):
            await fetch(cache, URI, "")
    assert [each for each in begun(tmp_path / "cache") if "unpacked" in each] == []
    assert 0 < cache.usage().used < 80_000
    assert (await fetch(cache, URI, "")).bytes == 80_000
    cache.close()


async def test_a_source_that_tells_no_sizes_ends_where_the_cache_does(
    tmp_path: Path, source: FakeSource
) -> None:
    source.unsized.add(URI)
    cache = opened(tmp_path / "cache", source, budget=6000)
    with pytest.raises(SourceError, match="which is the whole cache") as raised:
        await fetch(cache, URI, "")
    assert raised.value.trouble is Trouble.REFUSED
    assert begun(tmp_path / "cache") == []
    cache.close()


async def damaged(cache: ArtifactCache, source: FakeSource) -> Path:
    found = await fetch(cache, URI, mark(source))
    file = found.path / "model"
    file.chmod(0o600)
    file.write_bytes(b"w" * 4096)
    return file


async def test_damage_is_seen_and_mended(tmp_path: Path, source: FakeSource) -> None:
    cache = opened(tmp_path / "cache", source)
    file = await damaged(cache, source)
    assert not await cache.intact(file.parent.name)
    assert not cache.is_here(file.parent.name)
    await fetch(cache, URI, mark(source))
    assert file.read_bytes() == FILES["model"]
    cache.close()


async def test_damage_is_not_taken_for_what_another_address_brings(
    tmp_path: Path, source: FakeSource
) -> None:
    other = "s3://b/same"
    source.files[other] = dict(FILES)
    cache = opened(tmp_path / "cache", source)
    file = await damaged(cache, source)
    await fetch(cache, other, "")
    assert file.read_bytes() == FILES["model"]
    assert await cache.intact(file.parent.name)
    cache.close()


async def test_what_was_only_touched_is_read_once(
    tmp_path: Path, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overbook.artifacts import cache as module

    cache = opened(tmp_path / "cache", source)
    found = await fetch(cache, URI, mark(source))
    (found.path / "model").touch()
    assert await cache.intact(found.digest)
    monkeypatch.setattr(module, "content_of", None)
    assert await cache.intact(found.digest)
    cache.close()


async def test_facts_outlive_another_fetch(tmp_path: Path, source: FakeSource) -> None:
    cache = opened(tmp_path / "cache", source)
    file = await damaged(cache, source)
    cache.note(file.parent.name, "facts")
    await cache.verify(file.parent.name)
    await fetch(cache, URI, mark(source))
    known = cache.known(Asked(URI, fingerprint=mark(source)))
    assert known is not None
    assert known.facts == "facts"
    cache.close()
