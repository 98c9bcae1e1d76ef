"""What came once is not fetched again, whoever was killed meanwhile; and no process is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.rclone import places
from tests.integration.rclone_harness import (
    IMPATIENT,
    MIB,
    Fetch,
    files_of,
    rclones,
    s3_secret,
    sha256,
    source,
    until,
)
from tests.stores.proxy import Faults
from tests.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Store, rclone_s3

SIZE = 24 * MIB
URI = "s3://shelf/models/big"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with rclone_s3(tmp_path_factory.mktemp("served") / "files") as store:
        store.put("shelf", "models/big/model.bin", os.urandom(SIZE))
        store.put("shelf", "models/big/settings.json", b"{}")
        yield store


@pytest.fixture
def store(made: S3Store) -> S3Store:
    made.forget()
    return made


def content(store: S3Store) -> bytes:
    assert store.folder is not None
    return (store.folder / "shelf/models/big/model.bin").read_bytes()


async def test_a_connection_that_is_cut_half_way(store: S3Store, tmp_path: Path) -> None:
    fetch = Fetch(source(patience=IMPATIENT), URI, s3_secret(store))
    listing = await fetch.look()
    into = tmp_path / "into"
    store.forget()
    with store.front.with_faults(Faults(cut_after=SIZE // 2)):
        with pytest.raises(SourceError) as caught:
            await fetch.bring(listing, into)
        assert caught.value.trouble is Trouble.UNREACHABLE
        came = (places.partial_folder(into) / "model.bin").stat().st_size
        assert came > SIZE // 3
        assert "model.bin" not in files_of(into)
    again = Fetch(source(), URI, s3_secret(store))
    received = await again.bring(listing, into)
    assert store.front.sent < SIZE + 2 * MIB
    assert files_of(into)["model.bin"] == content(store)
    assert {each.name: each.digest for each in received}["model.bin"] == sha256(content(store))
    assert again.told == SIZE + 2
    assert not places.partial_folder(into).exists()


async def test_a_connection_that_hangs_half_way(store: S3Store, tmp_path: Path) -> None:
    fetch = Fetch(source(patience=IMPATIENT), URI, s3_secret(store))
    listing = await fetch.look()
    started = time.monotonic()
    with (
        store.front.with_faults(Faults(hang_after=SIZE // 2)),
        pytest.raises(SourceError) as caught,
    ):
        await fetch.bring(listing, tmp_path / "into")
    assert caught.value.trouble is Trouble.UNREACHABLE
    assert time.monotonic() - started < 30
    assert rclones() == []
    await fetch.bring(listing, tmp_path / "into")
    assert files_of(tmp_path / "into")["model.bin"] == content(store)


async def test_what_is_whole_is_not_asked_for(store: S3Store, tmp_path: Path) -> None:
    fetch = Fetch(source(), URI, s3_secret(store))
    listing = await fetch.look()
    await fetch.bring(listing, tmp_path / "into")
    (tmp_path / "into/settings.json").unlink()
    store.forget()
    again = Fetch(source(), URI, s3_secret(store))
    received = await again.bring(listing, tmp_path / "into")
    assert not [each for each in store.requests() if "model.bin" in each.path]
    assert {each.name for each in received} == {"model.bin", "settings.json"}
    assert again.told == SIZE + 2


async def test_wrong_bytes_of_an_earlier_try_are_found_out(store: S3Store, tmp_path: Path) -> None:
    fetch = Fetch(source(), URI, s3_secret(store))
    listing = await fetch.look()
    part = places.partial_folder(tmp_path / "into") / "model.bin"
    part.parent.mkdir()
    part.write_bytes(b"other" * MIB)
    with pytest.raises(SourceError) as caught:
        await fetch.bring(listing, tmp_path / "into")
    assert caught.value.trouble is Trouble.DAMAGED
    await fetch.bring(listing, tmp_path / "into")
    assert files_of(tmp_path / "into")["model.bin"] == content(store)


async def test_more_than_was_listed_is_not_kept(store: S3Store, tmp_path: Path) -> None:
    fetch = Fetch(source(), URI, s3_secret(store))
    listing = await fetch.look()
    part = places.partial_folder(tmp_path / "into") / "model.bin"
    part.parent.mkdir()
    part.write_bytes(bytes(SIZE + 1))
    await fetch.bring(listing, tmp_path / "into")
    assert files_of(tmp_path / "into")["model.bin"] == content(store)


async def _under_way(fetch: Fetch, into: Path) -> asyncio.Task[object]:
    """A transfer of which a third is here."""
    listing = await fetch.look()
    task: asyncio.Task[object] = asyncio.create_task(fetch.bring(listing, into))
    await until(lambda: task.done() or fetch.told >= SIZE // 3)
    if task.done():
        await task
    return task


async def test_cancelling_ends_the_process_and_keeps_what_came(
    store: S3Store, tmp_path: Path
) -> None:
    fetch = Fetch(source(), URI, s3_secret(store))
    with store.front.with_faults(Faults(rate=4 * MIB)):
        task = await _under_way(fetch, tmp_path / "into")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert rclones() == []
    assert (places.partial_folder(tmp_path / "into") / "model.bin").stat().st_size >= SIZE // 3


async def test_the_process_is_harmless_and_shows_no_secret(store: S3Store, tmp_path: Path) -> None:
    fetch = Fetch(source(), URI, s3_secret(store))
    with store.front.with_faults(Faults(rate=4 * MIB)):
        task = await _under_way(fetch, tmp_path / "into")
        (process,) = [each for each in rclones() if "cat" in each.cmdline()]
        seen = "\0".join(process.cmdline()) + json.dumps(process.environ())
        assert "minio" not in seen
        assert ACCESS_KEY not in seen
        assert SECRET_KEY not in seen
        assert process.nice() == 19
        assert process.rlimit(resource.RLIMIT_CORE) == (0, 0)
        assert process.memory_info().rss < 96 * MIB
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    for name, data in files_of(tmp_path).items():
        assert SECRET_KEY.encode() not in data, name


_FETCHES = """
import asyncio, json, sys
from pathlib import Path
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Wanted
from overbook.artifacts.sources.rclone.identity import this_machine
from overbook.artifacts.sources.rclone.source import RcloneSource

async def main():
    rclone = RcloneSource(FetchLimits(), this_machine())
    wanted, secret = Wanted(sys.argv[1]), RemoteSecret("minio", "s3", "s3", json.load(sys.stdin))
    listing = await rclone.look(wanted, secret)
    await rclone.bring(wanted, secret, listing, Path(sys.argv[2]), lambda _: None)

asyncio.run(main())
"""


async def test_kill_9_leaves_no_process_and_what_can_be_gone_on_with(
    store: S3Store, tmp_path: Path
) -> None:
    into, sent = tmp_path / "into", 0
    part = places.partial_folder(into) / "model.bin"
    for n in (1, 2, 3):
        with store.front.with_faults(Faults(rate=6 * MIB)):
            await asyncio.to_thread(_killed, store, into, part, n * SIZE // 5)
        # What was on its way into the pipes of a killed process is lost.
        sent = store.front.sent
        assert sent < n * SIZE // 5 + n * 3 * MIB
        assert "model.bin" not in files_of(into)
        assert part.stat().st_size >= n * SIZE // 5
    fetch = Fetch(source(), URI, s3_secret(store))
    await fetch.all(into)
    assert files_of(into) == {"model.bin": content(store), "settings.json": b"{}"}
    assert store.front.sent < SIZE + 8 * MIB


SMALL = [f"s{n:03d}" for n in range(200)]
# How the small objects are asked for: as the files of one model, as a model each that is a folder, or an object.
_ASKED: dict[str, Callable[[str], tuple[str, str]]] = {
    "files": lambda name: (f"many/{name}", "s3://shelf/many"),
    "folders": lambda name: (f"folders/{name}/model", f"s3://shelf/folders/{name}"),
    "objects": lambda name: (f"objects/{name}", f"s3://shelf/objects/{name}"),
}
_FETCHES_ALL = """
import asyncio, json, sys
from pathlib import Path
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Wanted
from overbook.artifacts.sources.rclone.identity import this_machine
from overbook.artifacts.sources.rclone.source import RcloneSource

async def main():
    rclone, told = RcloneSource(FetchLimits(), this_machine()), json.load(sys.stdin)
    secret = RemoteSecret("minio", "s3", "s3", told["secret"])

    async def fetch(uri, into):
        wanted = Wanted(uri)
        listing = await rclone.look(wanted, secret)
        await rclone.bring(wanted, secret, listing, Path(into), lambda _: None)

    await asyncio.gather(*(fetch(uri, into) for uri, into in told["wanted"].items()))

asyncio.run(main())
"""


@pytest.mark.parametrize("how", _ASKED)
async def test_kill_9_within_a_batch_has_no_whole_file_fetched_again(
    store: S3Store, tmp_path: Path, how: str
) -> None:
    keys = {name: _ASKED[how](name)[0] for name in SMALL}
    for name, key in keys.items():
        store.put("shelf", key, name.encode() * 5000)
    uris = dict.fromkeys(_ASKED[how](name)[1] for name in SMALL)
    folders = {uri: tmp_path / f"{n:032x}" for n, uri in enumerate(uris)}
    with store.front.with_faults(Faults(rate=200_000)):
        await asyncio.to_thread(_killed_half_way, store, folders, tmp_path)
    whole = await asyncio.to_thread(_whole_below, tmp_path)
    assert len(whole) >= 90
    store.forget()
    rclone, given = source(), s3_secret(store)
    fetches = {uri: Fetch(rclone, uri, given) for uri in uris}
    await asyncio.gather(*(each.all(folders[uri]) for uri, each in fetches.items()))
    read = [each.path.partition("?")[0] for each in store.requests() if each.method == "GET"]
    again = {name for name in whole if f"/shelf/{keys[name]}" in read}
    assert again == set()
    assert sorted(data[:4].decode() for data in files_of(tmp_path).values()) == SMALL
    assert sorted(os.listdir(tmp_path)) == sorted(each.name for each in folders.values())
    assert sum(each.told for each in fetches.values()) == 20_000 * len(SMALL)


def _whole_below(folder: Path) -> set[str]:
    return {path.read_bytes()[:4].decode() for path in folder.rglob("*") if _is_whole(path)}


def _is_whole(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.stat().st_size == 20_000


def _killed_half_way(store: S3Store, folders: dict[str, Path], where: Path) -> None:
    wanted = {uri: str(into) for uri, into in folders.items()}
    with subprocess.Popen([sys.executable, "-c", _FETCHES_ALL], stdin=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        agent.stdin.write(json.dumps({"secret": store.remote(), "wanted": wanted}).encode())
        agent.stdin.close()
        deadline = time.monotonic() + 60
        while sum(_is_whole(each) for each in where.rglob("*")) < 100:
            assert agent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(agent.pid).children(recursive=True)
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def _killed(store: S3Store, into: Path, part: Path, size: int) -> None:
    """A process fetches until so many bytes are here, and is killed then."""
    command = [sys.executable, "-c", _FETCHES, URI, str(into)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as agent:
        assert agent.stdin is not None
        agent.stdin.write(json.dumps(store.remote()).encode())
        agent.stdin.close()
        deadline = time.monotonic() + 60
        while not part.exists() or part.stat().st_size < size:
            assert agent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        children = psutil.Process(agent.pid).children(recursive=True)
        assert children
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
