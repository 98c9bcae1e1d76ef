"""Many artifacts that are wanted at the same time need few processes, and one that fails, fails alone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Listing, Received
from overbook.artifacts.sources.rclone.source import RcloneSource
from tests.integration.rclone_harness import MIB, Fetch, files_of, rclones, s3_secret, source, until
from tests.stores.s3 import S3Store, rclone_s3

COUNT = 200


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with rclone_s3(tmp_path_factory.mktemp("served") / "files") as made:
        for n in range(COUNT):
            made.put("shelf", f"many/m{n}/model.bin", f"model {n}".encode())
            made.put("shelf", f"many/m{n}/deep/settings.json", b"{}")
        for n in range(0, COUNT, 2):
            made.put("shelf", f"single/m{n}.bin", f"single {n}".encode())
        yield made


def fetches(rclone: RcloneSource, store: S3Store) -> list[Fetch]:
    given = s3_secret(store)
    return [Fetch(rclone, f"s3://shelf/many/m{n}", given) for n in range(COUNT)]


def processes(store: S3Store) -> int:
    """Each asks first whether its place is an object."""
    asked = [each for each in store.requests() if each.method == "HEAD"]
    return len([each for each in asked if each.path in {"/shelf/many", "/shelf/single"}])


async def test_many_are_looked_at_together(store: S3Store) -> None:
    store.forget()
    listings = await asyncio.gather(*(each.look() for each in fetches(source(), store)))
    assert [{file.name for file in each.files} for each in listings] == [
        {"model.bin", "deep/settings.json"}
    ] * COUNT
    assert [each.files[0].origin.split("/")[2] for each in listings] == [
        f"m{n}" for n in range(COUNT)
    ]
    assert processes(store) == 1
    assert len(store.requests()) <= 3
    alone = await fetches(source(), store)[7].look()
    assert alone == listings[7]


async def test_many_that_are_not_there_need_no_more(store: S3Store) -> None:
    rclone, given = source(), s3_secret(store)
    uris = [f"s3://shelf/many/none{n}" for n in range(COUNT)]
    store.forget()
    found = await asyncio.gather(
        *(Fetch(rclone, uri, given).look() for uri in uris), return_exceptions=True
    )
    for uri, error in zip(uris, found, strict=True):
        assert isinstance(error, SourceError)
        assert error.trouble is Trouble.NOT_FOUND
        assert uri in str(error)
    assert processes(store) <= 2


async def test_single_objects_and_versions_among_them(store: S3Store) -> None:
    rclone, given = source(), s3_secret(store)
    store.put("shelf", "mixed/a.zip", b"a")
    store.put("shelf", "mixed/b/1/model", b"1")
    store.put("shelf", "mixed/b/02/model", b"2")
    store.put("shelf", "mixed/b/top", b"t")
    wanted = [
        ("s3://shelf/mixed/a.zip", ""),
        ("s3://shelf/mixed/b", "1"),
        ("s3://shelf/mixed/b", "2"),
        ("s3://shelf/mixed/b", ""),
        ("s3://shelf/mixed/b", "7"),
        ("s3://shelf/mixed/none", ""),
    ]
    found = await asyncio.gather(
        *(Fetch(rclone, uri, given, version).look() for uri, version in wanted),
        return_exceptions=True,
    )
    listings = [each for each in found if isinstance(each, Listing)]
    assert [each.whole for each in listings] == [True, False, False, False]
    assert [sorted(file.name for file in each.files) for each in listings] == [
        ["a.zip"],
        ["1/model", "top"],
        ["02/model", "top"],
        ["02/model", "1/model", "top"],
    ]
    errors = [each for each in found if isinstance(each, SourceError)]
    assert "it has no folder '7' with files in it; expected as artifactVersion one of" in str(
        errors[0]
    )
    assert "has nothing at 'mixed/none'" in str(errors[1])


async def test_many_are_brought_together(store: S3Store, tmp_path: Path) -> None:
    all_of_them = fetches(source(), store)
    listings = await asyncio.gather(*(each.look() for each in all_of_them))
    store.forget()
    received = await asyncio.gather(
        *(
            each.bring(listing, tmp_path / str(n))
            for n, (each, listing) in enumerate(zip(all_of_them, listings, strict=True))
        )
    )
    for n in range(COUNT):
        assert files_of(tmp_path / str(n)) == {
            "model.bin": f"model {n}".encode(),
            "deep/settings.json": b"{}",
        }
    assert all(each.digest for some in received for each in some)
    assert [each.told for each in all_of_them] == [each.bytes for each in listings]
    assert processes(store) <= 8
    assert sorted(os.listdir(tmp_path)) == sorted(str(n) for n in range(COUNT))


async def test_versions_that_share_files_come_together(store: S3Store, tmp_path: Path) -> None:
    for name in ("top", "1/model", "2/model"):
        store.put("shelf", f"sharing/{name}", name.encode())
    rclone, given = source(), s3_secret(store)
    await asyncio.gather(
        *(
            Fetch(rclone, "s3://shelf/sharing", given, version).all(tmp_path / f"v{n}")
            for n, version in enumerate(("1", "2", "2", ""))
        )
    )
    assert [sorted(files_of(tmp_path / f"v{n}")) for n in range(4)] == [
        ["1/model", "top"],
        ["2/model", "top"],
        ["2/model", "top"],
        ["1/model", "2/model", "top"],
    ]
    inodes = {(tmp_path / f"v{n}" / "top").stat().st_ino for n in range(4)}
    assert len(inodes) == 4


async def test_one_that_is_gone_fails_alone(store: S3Store, tmp_path: Path) -> None:
    all_of_them = fetches(source(), store)[:20]
    listings = await asyncio.gather(*(each.look() for each in all_of_them))
    assert store.folder is not None
    gone = store.folder / "shelf/many/m3/model.bin"
    content = gone.read_bytes()
    gone.unlink()
    try:
        received = await asyncio.gather(
            *(
                each.bring(listing, tmp_path / str(n))
                for n, (each, listing) in enumerate(zip(all_of_them, listings, strict=True))
            ),
            return_exceptions=True,
        )
    finally:
        gone.write_bytes(content)
    failed = [n for n, each in enumerate(received) if isinstance(each, BaseException)]
    assert failed == [3]
    error = received[3]
    assert isinstance(error, SourceError)
    assert error.trouble is Trouble.CHANGED


async def test_who_is_cancelled_takes_nothing_from_the_others(
    store: S3Store, tmp_path: Path
) -> None:
    all_of_them = fetches(source(), store)[:20]
    listings = await asyncio.gather(*(each.look() for each in all_of_them))
    tasks: list[asyncio.Task[tuple[Received, ...]]] = [
        asyncio.create_task(each.bring(listing, tmp_path / str(n)))
        for n, (each, listing) in enumerate(zip(all_of_them, listings, strict=True))
    ]
    await until(lambda: bool(rclones()))
    for task in tasks[:10]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in done[:10])
    assert all(isinstance(each, tuple) for each in done[10:])
    assert rclones() == []
    assert not [name for name in os.listdir(tmp_path) if ".batch" in name]


async def test_two_secrets_are_never_mixed(store: S3Store) -> None:
    rclone = source()
    good, wrong = s3_secret(store), s3_secret(store, secret_access_key="wrong")
    found = await asyncio.gather(
        *(Fetch(rclone, f"s3://shelf/many/m{n}", good).look() for n in range(5)),
        *(Fetch(rclone, f"s3://shelf/many/m{n}", wrong).look() for n in range(5)),
        return_exceptions=True,
    )
    assert all(isinstance(each, Listing) for each in found[:5])
    assert all(isinstance(each, SourceError) for each in found[5:])


async def test_files_of_many_sizes_come_in_handfuls(store: S3Store, tmp_path: Path) -> None:
    """Small ones together, those that are large each by itself, and all of them in the end."""
    sizes = {f"f{n}": 7 * MIB for n in range(12)} | {"large": 17 * MIB, "empty": 0}
    for name, size in sizes.items():
        store.put("shelf", f"mixture/{name}", os.urandom(size))
    fetch = Fetch(source(), "s3://shelf/mixture", s3_secret(store))
    received = await fetch.all(tmp_path / "into")
    assert {each.name: each.size for each in received} == sizes
    assert {name: len(data) for name, data in files_of(tmp_path / "into").items()} == sizes
    assert fetch.told == sum(sizes.values())
    assert len(fetch.progress) > 3


async def test_a_rate_is_kept(store: S3Store, tmp_path: Path) -> None:
    store.put("shelf", "slow/small", os.urandom(4 * MIB))
    store.put("shelf", "slow/large", os.urandom(16 * MIB))
    limits = FetchLimits(concurrent=2, rate=8 * MIB)
    fetch = Fetch(source(limits), "s3://shelf/slow", s3_secret(store))
    listing = await fetch.look()
    started = time.monotonic()
    await fetch.bring(listing, tmp_path / "into")
    # One slot may use half of the rate.
    assert time.monotonic() - started > 3.0
