"""The cache: content addressed, durable over restarts, safe when things go wrong half-way."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.artifacts import local, walk
from overbook.artifacts.cache import ArtifactCache
from overbook.artifacts.errors import ArtifactError
from tests.unit.artifacts.caches import fetch, opened


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArtifactCache]:
    made = opened(tmp_path / "cache")
    yield made
    made.close()


def artifact(folder: Path, content: bytes = b"weights") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.joblib").write_bytes(content)
    return str(folder)


def incoming(cache_root: Path) -> list[str]:
    return os.listdir(cache_root / ".incoming")


async def test_a_folder_is_copied_whole(cache: ArtifactCache, tmp_path: Path) -> None:
    source = tmp_path / "model"
    artifact(source / "1")
    (source / "empty").mkdir()
    (source / "current").symlink_to("1/model.joblib")
    found = await fetch(cache, str(source), "f")
    assert (found.path / "1" / "model.joblib").read_bytes() == b"weights"
    assert (found.path / "current").read_bytes() == b"weights"
    assert (found.path / "empty").is_dir()
    assert found.bytes == 7
    assert found.path == tmp_path / "cache" / found.digest
    assert incoming(tmp_path / "cache") == []


async def test_a_single_file_becomes_a_folder_with_it(cache: ArtifactCache, tmp_path: Path) -> None:
    source = artifact(tmp_path / "model") + "/model.joblib"
    by_path = await fetch(cache, source, "")
    by_uri = await fetch(cache, f"file://{source}", "")
    assert by_path == by_uri
    assert [p.name for p in by_path.path.iterdir()] == ["model.joblib"]


async def test_the_copy_is_ours_and_read_only(cache: ArtifactCache, tmp_path: Path) -> None:
    source = artifact(tmp_path / "model")
    found = await fetch(cache, source, "f")
    (tmp_path / "model" / "model.joblib").write_bytes(b"changed in place")
    file = found.path / "model.joblib"
    assert file.read_bytes() == b"weights"
    assert file.stat().st_mode & 0o222 == 0


async def test_equal_content_is_kept_once(cache: ArtifactCache, tmp_path: Path) -> None:
    first = await fetch(cache, artifact(tmp_path / "a"), "f")
    second = await fetch(cache, artifact(tmp_path / "b"), "f")
    other = await fetch(cache, artifact(tmp_path / "c", b"others"), "f")
    assert first.path == second.path
    assert other.digest != first.digest


async def test_names_are_part_of_the_content(cache: ArtifactCache, tmp_path: Path) -> None:
    first = await fetch(cache, artifact(tmp_path / "a"), "f")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.pickle").write_bytes(b"weights")
    assert (await fetch(cache, str(tmp_path / "b"), "f")).digest != first.digest


async def test_a_known_fingerprint_reads_nothing(cache: ArtifactCache, tmp_path: Path) -> None:
    source = artifact(tmp_path / "model")
    found = await fetch(cache, source, "f")
    (tmp_path / "model" / "model.joblib").unlink()
    assert (await fetch(cache, source, "f")).path == found.path
    with pytest.raises(ArtifactError, match="is empty"):
        await fetch(cache, source, "another")


async def test_a_new_fingerprint_brings_the_new_content(
    cache: ArtifactCache, tmp_path: Path
) -> None:
    source = artifact(tmp_path / "model")
    before = await fetch(cache, source, "f1")
    artifact(tmp_path / "model", b"better weights")
    after = await fetch(cache, source, "f2")
    assert (after.path / "model.joblib").read_bytes() == b"better weights"
    assert (before.path / "model.joblib").read_bytes() == b"weights"


async def test_restart_remembers_and_sweeps(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    first = opened(root)
    source = artifact(tmp_path / "model")
    found = await fetch(first, source, "f")
    first.close()
    (root / ".incoming" / "half").mkdir()
    (root / ".incoming" / "half" / "part").write_bytes(b"x")
    (tmp_path / "model" / "model.joblib").unlink()
    again = opened(root)
    assert incoming(root) == []
    assert (await fetch(again, source, "f")).path == found.path
    again.close()


async def test_a_broken_index_is_only_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    opened(root).close()
    (root / "index.db").write_bytes(b"not a database, and long enough to be read as one" * 40)
    cache = opened(root)
    await fetch(cache, artifact(tmp_path / "model"), "f")
    cache.close()


async def test_same_content_fetched_at_once(cache: ArtifactCache, tmp_path: Path) -> None:
    sources = [artifact(tmp_path / f"m{i}") for i in range(6)]
    found = await asyncio.gather(*(fetch(cache, s, "f") for s in sources + sources))
    assert len({each.path for each in found}) == 1
    assert incoming(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda p: (p / "model.pkl").symlink_to("/etc/hostname"),
            "points outside the artifact, to /etc/hostname",
        ),
        (lambda p: (p / "model.pkl").symlink_to("../secret"), "points outside"),
        (lambda p: (p / "dir").symlink_to(".."), "points outside"),
        (lambda p: (p / "model.pkl").symlink_to("nothing"), "does not exist"),
        (lambda p: os.mkfifo(p / "pipe"), "special file"),
    ],
)
async def test_dangerous_entries_are_refused(
    cache: ArtifactCache, tmp_path: Path, make: object, reason: str
) -> None:
    (tmp_path / "secret").write_text("s")
    source = tmp_path / "model"
    artifact(source)
    assert callable(make)
    make(source)
    with pytest.raises(ArtifactError, match=reason) as raised:
        await fetch(cache, str(source), "f")
    assert "\n" not in str(raised.value)
    assert str(source) in str(raised.value)
    assert incoming(tmp_path / "cache") == []


async def test_links_that_lead_round_are_refused(cache: ArtifactCache, tmp_path: Path) -> None:
    """A server that follows them would never come to an end."""
    source = tmp_path / "model"
    artifact(source / "a")
    artifact(source / "b")
    (source / "a" / "other").symlink_to("../b")
    await fetch(cache, str(source), "")
    (source / "b" / "other").symlink_to("../a")
    with pytest.raises(ArtifactError, match="when its links to folders are followed"):
        await fetch(cache, str(source), "")


async def test_links_that_multiply_are_refused(cache: ArtifactCache, tmp_path: Path) -> None:
    """Without going round: each of the folders leads to the next one twice."""
    source = tmp_path / "model"
    for number in range(20):
        artifact(source / str(number))
        for name in ("left", "right"):
            (source / str(number) / name).symlink_to(f"../{number + 1}")
    artifact(source / "20")
    with pytest.raises(ArtifactError, match="more than 20000 entries"):
        await fetch(cache, str(source), "")


async def test_a_link_out_through_another_link_is_refused(
    cache: ArtifactCache, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    (source / "a" / "b").mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (source / "up").symlink_to("a/b/../..")
    (source / "out").symlink_to("up/../secret")
    with pytest.raises(ArtifactError, match="outside"):
        await fetch(cache, str(source), "f")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://bucket/model", "nothing is there"),
        ("models/iris", "expected an absolute one"),
        ("/nowhere/at/all", "does not exist"),
        ("/dev/null", "is a device, pipe or socket"),
    ],
)
async def test_addresses_that_are_no_model(cache: ArtifactCache, uri: str, reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason):
        await fetch(cache, uri, "f")


async def test_no_space_for_it_is_known_before(cache: ArtifactCache, tmp_path: Path) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "model.joblib").touch()
    os.truncate(source / "model.joblib", 1 << 43)  # sparse
    with pytest.raises(ArtifactError, match=r"no disk space .* needs 8796093022208 bytes"):
        await fetch(cache, str(source), "f")


async def test_a_disk_that_fills_up_leaves_nothing(
    cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = artifact(tmp_path / "model")
    monkeypatch.setattr(local, "_write_all", full)
    with pytest.raises(ArtifactError, match="no disk space"):
        await fetch(cache, source, "f")
    monkeypatch.undo()
    assert incoming(tmp_path / "cache") == []
    assert (await fetch(cache, source, "f")).bytes == 7


async def test_a_cancelled_copy_stops_and_leaves_nothing(
    cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying_now = asyncio.Event()
    loop = asyncio.get_running_loop()
    plain = local._write_all

    def slow(descriptor: int, data: bytes) -> None:
        loop.call_soon_threadsafe(copying_now.set)
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(5)
        plain(descriptor, data)

    released = asyncio.Event()
    monkeypatch.setattr(local, "_write_all", slow)
    source = artifact(tmp_path / "model", b"x" * (2 * 1024 * 1024))
    task = asyncio.create_task(fetch(cache, source, "f"))
    await copying_now.wait()
    task.cancel()
    await asyncio.sleep(0)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert incoming(tmp_path / "cache") == []
    assert [p.name for p in (tmp_path / "cache").iterdir() if len(p.name) == 40] == []


async def test_verify_finds_and_removes_damage(cache: ArtifactCache, tmp_path: Path) -> None:
    source = artifact(tmp_path / "model")
    found = await fetch(cache, source, "f")
    assert await cache.verify(found.digest)
    file = found.path / "model.joblib"
    file.unlink()
    file.write_bytes(b"weighty")
    assert not await cache.verify(found.digest)
    assert not found.path.exists()
    assert (await fetch(cache, source, "f")).path == found.path
    assert file.read_bytes() == b"weights"


async def test_prune_keeps_what_is_named_or_being_fetched(
    cache: ArtifactCache, tmp_path: Path
) -> None:
    kept = await fetch(cache, artifact(tmp_path / "a", b"a"), "f")
    gone = await fetch(cache, artifact(tmp_path / "b", b"b"), "f")
    pruning, fresh = await asyncio.gather(
        cache.prune("a", {kept.digest}), fetch(cache, artifact(tmp_path / "c", b"c"), "f")
    )
    assert pruning == 1
    assert kept.path.is_dir()
    assert not gone.path.exists()
    assert fresh.path.is_dir()
    assert (await fetch(cache, str(tmp_path / "b"), "f")).path.is_dir()


async def test_too_many_entries_is_a_mistake(
    cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "MAX_ENTRIES", 3)
    source = tmp_path / "model"
    for name in "abcd":
        artifact(source / name)
    with pytest.raises(ArtifactError, match="more than 3 entries"):
        await fetch(cache, str(source), "f")


async def test_a_file_that_grows_while_copied_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "model.joblib"
    source.write_bytes(b"half")

    def grow() -> None:
        source.write_bytes(b"half and the rest")

    with pytest.raises(ArtifactError, match="changed while it was copied"):
        local.copy_artifact(source, tmp_path / "copy", grow)
