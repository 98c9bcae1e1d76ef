"""What goes wrong with a store is told in one line, which says what is to blame and nothing of a secret."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from tests.integration.rclone_harness import (
    IMPATIENT,
    MIB,
    Fetch,
    files_of,
    rclones,
    s3_secret,
    source,
)
from tests.stores.processes import HOST, free_port
from tests.stores.proxy import Faults
from tests.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Store, moto_s3, rclone_s3
from tests.stores.self_signed import self_signed

URI = "s3://shelf/models/a"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with moto_s3(tmp_path_factory.mktemp("moto")) as store:
        store.put("shelf", "models/a/model.bin", b"x" * 1000)
        store.put("shelf", "models/b/model.bin", b"y" * 1000)
        yield store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Store]:
    with rclone_s3(tmp_path_factory.mktemp("served") / "files") as store:
        yield store


@pytest.fixture
def served(made: S3Store) -> S3Store:
    made.put("shelf", "models/a/model.bin", b"x" * MIB)
    made.forget()
    return made


async def failure(given: RemoteSecret, uri: str = URI) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await Fetch(source(patience=IMPATIENT), uri, given).look()
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"'{uri}'")
    for value in (ACCESS_KEY, SECRET_KEY, given.parameters.get("secret_access_key", SECRET_KEY)):
        assert value not in said
    return caught.value


async def test_a_wrong_key(served: S3Store) -> None:
    unknown = await failure(s3_secret(served, access_key_id="AKIANOBODYKNOWSME000"))
    assert "secret 'minio': access_key_id is not known to the server" in str(unknown)
    assert "AKIANOBODYKNOWSME000" not in str(unknown)
    wrong = await failure(s3_secret(served, secret_access_key="not-this-one-at-all"))
    assert "secret 'minio': secret_access_key does not belong to access_key_id" in str(wrong)
    assert unknown.trouble is wrong.trouble is Trouble.BAD_SECRET


async def test_an_answer_without_end() -> None:
    """One key of gigabytes in a listing: rclone, which reads it whole, has its memory bounded."""
    most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        with contextlib.suppress(OSError):
            if (await reader.readuntil(b"\r\n\r\n")).startswith(b"HEAD"):
                # Whether it is one object: what came behind this answer would be taken for the head of the next.
                writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n")
            writer.write(b"<ListBucketResult><Name>shelf</Name><Contents><Key>")
            while not writer.is_closing():
                writer.write(b"k" * MIB)
                await writer.drain()
                most = max(most, *(each.memory_info().rss for each in rclones()), 0)

    async with await asyncio.start_server(answer, HOST, 0) as server:
        endpoint = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
        given = RemoteSecret("minio", "s3", "s3", {"provider": "Other", "endpoint": endpoint})
        with pytest.raises(SourceError, match="rclone needs more memory for what") as caught:
            await Fetch(source(), "s3://shelf/models", given).look()
    assert caught.value.trouble is Trouble.REFUSED
    assert 128 * MIB < most < 640 * MIB


@pytest.mark.parametrize("where", ["http://169.254.169.254", "http://192.0.2.7:8080"])
async def test_a_server_that_leads_elsewhere_is_not_followed(served: S3Store, where: str) -> None:
    lines = ("HTTP/1.1 302 Found", f"Location: {where}/latest/meta-data/", "Content-Length: 0")
    answer = "\r\n".join((*lines, "", "")).encode()
    began = time.monotonic()
    with served.front.with_faults(Faults(answer=answer)):
        error = await failure(s3_secret(served))
    assert f"the server leads to {where}, which is no host of its own" in str(error)
    assert error.trouble is Trouble.REFUSED
    # Nobody has tried to connect there.
    assert time.monotonic() - began < 2.0


def policy(*statements: tuple[str, str]) -> dict[str, object]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": [action], "Resource": [f"arn:aws:s3:::{resource}"]}
            for action, resource in statements
        ],
    }


async def test_a_user_who_may_not_read_it(moto: S3Store, tmp_path: Path) -> None:
    nobody = moto.new_user("nobody", policy(("s3:*", "other"), ("s3:*", "other/*")))
    reader = moto.new_user("reader", policy(("s3:GetObject", "shelf/*")))
    keys = [{"access_key_id": i, "secret_access_key": k} for i, k in (nobody, reader)]
    with moto.be_strict():
        error = await failure(s3_secret(moto, **keys[0]))
        assert error.trouble is Trouble.NOT_ALLOWED
        assert "secret 'minio' may not read it (the server says: AccessDenied)" in str(error)
        wrong = await failure(s3_secret(moto, access_key_id=nobody[0]))
        assert "secret_access_key does not belong to access_key_id" in str(wrong)
        # Who may not list can still read single objects: alone, and several at once.
        rclone, given = source(), s3_secret(moto, **keys[1])
        fetches = [Fetch(rclone, f"s3://shelf/models/{n}/model.bin", given) for n in "ab"]
        await asyncio.gather(*(each.all(tmp_path / str(n)) for n, each in enumerate(fetches)))
    assert files_of(tmp_path / "0") == {"model.bin": b"x" * 1000}
    assert files_of(tmp_path / "1") == {"model.bin": b"y" * 1000}


async def test_nothing_answers(served: S3Store) -> None:
    port, started = free_port(), time.monotonic()
    error = await failure(s3_secret(served, endpoint=f"http://{HOST}:{port}"))
    assert f"nothing answers at {HOST}:{port} (connection refused)" in str(error)
    assert error.trouble is Trouble.UNREACHABLE
    assert error.passing
    assert time.monotonic() - started < 30


async def test_a_server_that_closes_each_connection(served: S3Store) -> None:
    with served.front.with_faults(Faults(refuse=True)):
        error = await failure(s3_secret(served))
    assert error.trouble is Trouble.UNREACHABLE


async def test_a_server_that_says_nothing(served: S3Store) -> None:
    started = time.monotonic()
    with served.front.with_faults(Faults(hang_after=0)):
        error = await failure(s3_secret(served))
    assert error.trouble is Trouble.UNREACHABLE
    assert time.monotonic() - started < 30
    assert rclones() == []


async def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    tls = self_signed(tmp_path)
    with rclone_s3(tmp_path / "files", tls) as store:
        store.put("shelf", "models/a/model.bin", b"x")
        error = await failure(s3_secret(store, endpoint=store.endpoint.replace("http:", "https:")))
        assert error.trouble is Trouble.NOT_TRUSTED
        assert "certificate" in str(error)
        plain = await failure(s3_secret(store))
        assert plain.trouble in {Trouble.UNREACHABLE, Trouble.BAD_SECRET}


def answer(status: int, code: str, more: str = "", head: str = "") -> Faults:
    """What S3 says for an error, to every request."""
    body = f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>"
    told = f"HTTP/1.1 {status} No\r\nContent-Type: application/xml\r\n{head}"
    told += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    return Faults(answer=told.encode())


async def test_a_clock_that_is_wrong(served: S3Store) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with served.front.with_faults(answer(403, "RequestTimeTooSkewed", head=f"Date: {date}\r\n")):
        error = await failure(s3_secret(served))
    assert "this machine's clock is off by 36" in str(error) or "off by 35" in str(error)
    assert "it is behind" in str(error)


async def test_a_server_that_asks_to_come_later(served: S3Store) -> None:
    for faults in (answer(503, "SlowDown"), answer(429, "TooManyRequests")):
        with served.front.with_faults(faults):
            error = await failure(s3_secret(served))
        assert error.trouble is Trouble.BUSY


async def test_the_wrong_region(served: S3Store) -> None:
    head = "x-amz-bucket-region: eu-west-1\r\n"
    with served.front.with_faults(answer(301, "PermanentRedirect", head=head)):
        error = await failure(s3_secret(served))
    assert "its bucket is in region eu-west-1" in str(error)


async def test_a_token_that_has_expired(served: S3Store) -> None:
    with served.front.with_faults(answer(400, "ExpiredToken")):
        error = await failure(s3_secret(served, session_token="old"))
    assert "session_token has expired" in str(error)


async def test_a_parameter_that_is_none(served: S3Store) -> None:
    error = await failure(s3_secret(served, force_path_style="perhaps"))
    assert "force_path_style is no bool" in str(error)
    assert error.trouble is Trouble.BAD_SECRET


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
async def test_other_bytes_than_were_listed(served: S3Store, tmp_path: Path, size: int) -> None:
    served.put("shelf", "damaged/model.bin", os.urandom(size))
    fetch = Fetch(source(), "s3://shelf/damaged", s3_secret(served))
    listing = await fetch.look()
    with served.front.with_faults(Faults(damage_at=MIB // 2)), pytest.raises(SourceError) as caught:
        await fetch.bring(listing, tmp_path / "into")
    assert caught.value.trouble is Trouble.DAMAGED
    assert files_of(tmp_path / "into") == {}
    # Nothing of the damaged is gone on with.
    await fetch.bring(listing, tmp_path / "into")
    assert [len(each) for each in files_of(tmp_path / "into").values()] == [size]


@pytest.mark.parametrize("size", [MIB, 20 * MIB])
async def test_an_object_that_changes_after_it_was_listed(
    served: S3Store, tmp_path: Path, size: int
) -> None:
    for n, after in enumerate((size, size + 1, size - 1)):
        served.put("shelf", "changing/model.bin", os.urandom(size))
        fetch = Fetch(source(), "s3://shelf/changing", s3_secret(served))
        listing = await fetch.look()
        served.put("shelf", "changing/model.bin", os.urandom(after))
        with pytest.raises(SourceError) as caught:
            await fetch.bring(listing, tmp_path / str(n))
        assert caught.value.trouble is Trouble.CHANGED, str(caught.value)
        assert caught.value.passing
        assert files_of(tmp_path / str(n)) == {}


async def test_a_large_object_in_parts_that_changes(moto: S3Store, tmp_path: Path) -> None:
    """Its listing has no hash: only another look tells."""
    moto.put("shelf", "changing/model.bin", os.urandom(20 * MIB))
    fetch = Fetch(source(), "s3://shelf/changing", s3_secret(moto))
    listing = await fetch.look()
    if listing.files[0].mark.startswith("md5:"):
        moto.put_parts("shelf", "changing/model.bin", 20 * MIB)
        listing = await fetch.look()
    assert listing.files[0].mark.startswith("time:")
    await asyncio.sleep(1.1)
    moto.put_parts("shelf", "changing/model.bin", 20 * MIB)
    with pytest.raises(SourceError) as caught:
        await fetch.bring(listing, tmp_path / "into")
    assert caught.value.trouble is Trouble.CHANGED


async def test_a_very_large_object_that_changes(served: S3Store, tmp_path: Path) -> None:
    """Its MD5 is not computed."""
    served.put("shelf", "huge/model.bin", bytes(65 * MIB))
    fetch = Fetch(source(), "s3://shelf/huge", s3_secret(served))
    listing = await fetch.look()
    served.put("shelf", "huge/model.bin", b"x" * 65 * MIB)
    with pytest.raises(SourceError) as caught:
        await fetch.bring(listing, tmp_path / "into")
    assert caught.value.trouble is Trouble.CHANGED


async def test_an_object_that_is_gone(served: S3Store, tmp_path: Path) -> None:
    served.put("shelf", "going/model.bin", b"x")
    served.put("shelf", "going/other.bin", b"x")
    fetch = Fetch(source(), "s3://shelf/going", s3_secret(served))
    listing = await fetch.look()
    assert served.folder is not None
    (served.folder / "shelf/going/model.bin").unlink()
    with pytest.raises(SourceError) as caught:
        await fetch.bring(listing, tmp_path / "into")
    assert caught.value.trouble is Trouble.CHANGED
    (served.folder / "shelf/going/other.bin").unlink()
    with pytest.raises(SourceError) as caught:
        await fetch.bring(listing, tmp_path / "into2")
    assert caught.value.trouble is Trouble.NOT_FOUND
