"""Files over HTTP from servers that cut, hang, lie and change their mind: what comes is right in the end or refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Received
from overbook.artifacts.sources.web.download import Downloader, Manners, parts_of
from tests.integration.web_harness import (
    MANNERS,
    begin,
    content,
    cut,
    found_in,
    give,
    served,
    sha256,
)
from tests.small_disk import small_disk

DATA = content(3_000_000)
HALF = len(DATA) // 2


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    made = Downloader(FetchLimits(), MANNERS)
    yield made
    await made.close()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "artifact"


class Counted:
    """Adds up progress."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self, more: int) -> None:
        assert more > 0
        self.bytes += more


def part_bytes(into: Path) -> int:
    return sum(path.stat().st_size for path in parts_of(into).iterdir() if path.name != "journal")


async def test_files_come_into_their_folders(downloader: Downloader, into: Path) -> None:
    files = {f"{number % 3}/deep/{number}": content(number * 70_000, number) for number in range(9)}

    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, files[request.path[1:]])

    progress = Counted()
    async with served(handler) as server:
        wanted = [server.file(name, len(data)) for name, data in files.items()]
        received = await downloader.bring(wanted, into, progress)
    assert found_in(into) == files
    assert received == tuple(
        Received(name, len(data), sha256(data)) for name, data in files.items()
    )
    assert progress.bytes == sum(map(len, files.values()))


async def test_a_body_that_is_cut_is_gone_on_with(downloader: Downloader, into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return give(request, DATA)
        response = await begin(request, DATA, HALF)
        await cut(request)
        return response

    progress = Counted()
    async with served(handler) as server:
        (received,) = await downloader.bring([server.file("x", len(DATA))], into, progress)
        assert server.asked() == ["GET /x", f"GET /x bytes={HALF}-"]
        assert server.told[1].headers["if-range"] == '"v1"'
    assert received.digest == sha256(DATA)
    assert found_in(into) == {"x": DATA}
    assert progress.bytes == len(DATA)


async def test_a_file_that_is_cut_often_comes_as_long_as_it_gets_on(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = await begin(request, DATA, start + 300_000)
        await cut(request)
        return response

    async with served(handler) as server:
        (received,) = await downloader.bring([server.file("x", len(DATA))], into, Counted())
        # More than the tries that it would have had without getting on.
        assert len(server.told) >= 10
    assert received.digest == sha256(DATA)


async def test_a_connection_that_says_nothing_more_is_cut_and_gone_on_with(into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return give(request, DATA)
        response = await begin(request, DATA, HALF)
        await asyncio.sleep(30)
        return response

    downloader = Downloader(FetchLimits(), Manners(silence=0.5, backoff=0.01))
    async with served(handler) as server:
        started = time.monotonic()
        (received,) = await downloader.bring([server.file("x", len(DATA))], into, Counted())
        assert time.monotonic() - started < 10
    await downloader.close()
    assert received.digest == sha256(DATA)


async def test_a_server_that_never_says_anything_is_given_up(into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    downloader = Downloader(FetchLimits(), Manners(silence=0.2, backoff=0.01))
    async with served(handler) as server:
        with pytest.raises(SourceError, match="sent nothing for too long") as raised:
            await downloader.bring([server.file("x", len(DATA))], into, Counted())
        assert raised.value.trouble is Trouble.UNREACHABLE
        assert len(server.told) == 4
    await downloader.close()


async def test_another_version_in_the_middle_begins_anew(
    downloader: Downloader, into: Path
) -> None:
    new = content(len(DATA), 2)

    async def handler(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return give(request, new, '"v2"')
        response = await begin(request, DATA, HALF)
        await cut(request)
        return response

    progress = Counted()
    async with served(handler) as server:
        (received,) = await downloader.bring([server.file("x", len(DATA))], into, progress)
    assert received.digest == sha256(new)
    assert progress.bytes == len(DATA)


async def test_a_server_that_ignores_if_range_mixes_no_versions(
    downloader: Downloader, into: Path
) -> None:
    new = content(len(DATA), 2)

    async def handler(request: web.Request) -> web.StreamResponse:
        if (start := request.http_range.start) is not None:
            told = f"bytes {start}-{len(new) - 1}/{len(new)}"
            headers = {"ETag": '"v2"', "Content-Range": told}
            return web.Response(status=206, body=new[start:], headers=headers)
        response = await begin(request, DATA, HALF)
        await cut(request)
        return response

    async with served(handler) as server:
        with pytest.raises(SourceError, match="others came") as raised:
            await downloader.bring([server.file("x", len(DATA))], into, Counted())
    assert raised.value.trouble is Trouble.DAMAGED
    assert part_bytes(into) == 0


async def test_a_part_without_a_validator_is_not_gone_on_with(
    downloader: Downloader, into: Path
) -> None:
    tries = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries > 1:
            return web.Response(body=DATA)
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:HALF])
        await cut(request)
        return response

    async with served(handler) as server:
        (received,) = await downloader.bring([server.file("x", len(DATA))], into, Counted())
        assert server.asked() == ["GET /x", "GET /x"]
    assert received.digest == sha256(DATA)


async def test_what_changed_since_it_was_listed_is_said_to_have_changed(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, DATA, '"v2"')

    async with served(handler) as server:
        file = server.file("x", len(DATA), validator='"v1"')
        with pytest.raises(SourceError, match="another version than was listed") as raised:
            await downloader.bring([file], into, Counted())
    assert raised.value.trouble is Trouble.CHANGED
    assert found_in(into) == {}


@pytest.mark.parametrize("listed", [len(DATA) - 1, len(DATA) + 1])
async def test_another_length_than_was_listed(
    downloader: Downloader, into: Path, listed: int
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, DATA)

    async with served(handler) as server:
        with pytest.raises(
            SourceError, match=f"{listed} bytes were listed, 3000000 are sent"
        ) as raised:
            await downloader.bring([server.file("x", listed)], into, Counted())
        assert len(server.told) == 1
    assert raised.value.trouble is Trouble.DAMAGED
    assert part_bytes(into) == 0


async def test_a_body_without_end_is_cut_off(downloader: Downloader, into: Path) -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"ETag": '"v1"'})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))
            sent += 100_000

    async with served(handler) as server:
        with pytest.raises(SourceError, match="more than the 1000000 bytes came") as raised:
            await downloader.bring([server.file("x", 1_000_000)], into, Counted())
    assert raised.value.trouble is Trouble.DAMAGED
    assert part_bytes(into) == 0
    assert sent < 20_000_000


async def test_a_body_that_ends_too_early(downloader: Downloader, into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": '"v1"'})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(DATA[:HALF])
        return response

    async with served(handler) as server:
        with pytest.raises(SourceError, match="3000000 bytes were listed, 1500000 came") as raised:
            await downloader.bring([server.file("x", len(DATA))], into, Counted())
        assert len(server.told) == 1
    assert raised.value.trouble is Trouble.DAMAGED


async def test_a_body_of_unknown_length_is_taken_by_its_chunks(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(DATA)
        return response

    async with served(handler) as server:
        (received,) = await downloader.bring([server.file("x", None)], into, Counted())
    assert received == Received("x", len(DATA), sha256(DATA))


@pytest.mark.parametrize("size", [None, 10])
async def test_a_body_that_only_the_connection_ends(
    downloader: Downloader, into: Path, size: int | None
) -> None:
    """Whole and cut look alike, unless the length is known from elsewhere."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n0123456789")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server, served(lambda request: asyncio.sleep(0, web.Response())) as other:
        other.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        if size is not None:
            await downloader.bring([other.file("x", size)], into, Counted())
            assert found_in(into) == {"x": b"0123456789"}
            return
        with pytest.raises(SourceError, match="does not say how long it is") as raised:
            await downloader.bring([other.file("x", size)], into, Counted())
    assert raised.value.trouble is Trouble.DAMAGED


async def test_other_bytes_than_were_listed(downloader: Downloader, into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, content(len(DATA), 2))

    async with served(handler) as server:
        file = server.file("x", len(DATA), sha256=sha256(DATA))
        with pytest.raises(SourceError, match="other bytes came than were listed") as raised:
            await downloader.bring([file], into, Counted())
    assert raised.value.trouble is Trouble.DAMAGED
    assert found_in(into) == {}
    assert part_bytes(into) == 0


async def test_the_digest_of_a_file_that_was_gone_on_with_is_of_all_its_bytes(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "Range" in request.headers:
            return give(request, DATA)
        response = await begin(request, content(len(DATA), 2), HALF)
        await cut(request)
        return response

    async with served(handler) as server:
        file = server.file("x", len(DATA), sha256=sha256(DATA))
        with pytest.raises(SourceError, match="other bytes came"):
            await downloader.bring([file], into, Counted())


async def test_bytes_that_are_encoded_are_not_taken_for_the_file(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=b"12345", headers={"Content-Encoding": "gzip"})

    async with served(handler) as server:
        with pytest.raises(SourceError, match="sent in gzip"):
            await downloader.bring([server.file("x.json", 5)], into, Counted())
        await downloader.bring([server.file("x.tar.gz", 5)], into, Counted())
    assert found_in(into) == {"x.tar.gz": b"12345"}


async def test_a_fetch_that_was_cancelled_is_gone_on_with_by_another(into: Path) -> None:
    half_is_here = asyncio.Event()
    broken = True

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/whole" or not broken:
            return give(request, DATA)
        response = await begin(request, DATA, HALF)
        await asyncio.sleep(30)
        return response

    progress = Counted()

    def watch(more: int) -> None:
        progress(more)
        # The last bytes that are held in memory are lost; the chunk before them is not.
        if progress.bytes >= len(DATA) + 1024 * 1024:
            half_is_here.set()

    async with served(handler) as server:
        files = [server.file("whole", len(DATA)), server.file("half", len(DATA))]
        first = Downloader(FetchLimits(), MANNERS)
        task = asyncio.create_task(first.bring(files, into, watch))
        async with asyncio.timeout(10):
            await half_is_here.wait()
            while not (into / "whole").exists():  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await first.close()
        had = part_bytes(into)
        assert found_in(into) == {"whole": DATA}
        assert 1024 * 1024 <= had <= HALF

        broken = False
        server.told.clear()
        second, again = Downloader(FetchLimits(), MANNERS), Counted()
        received = await second.bring(files, into, again)
        await second.close()
        assert server.asked() == [f"GET /half bytes={had}-"]
    assert {each.digest for each in received} == {sha256(DATA)}
    assert found_in(into) == {"whole": DATA, "half": DATA}
    assert again.bytes == 2 * len(DATA)


async def test_a_whole_file_that_was_damaged_on_the_disk_is_fetched_again(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, DATA)

    async with served(handler) as server:
        files = [server.file("x", len(DATA))]
        await downloader.bring(files, into, Counted())
        (into / "x").write_bytes(bytes(len(DATA)))
        await downloader.bring(files, into, Counted())
        assert len(server.told) == 2
    assert found_in(into) == {"x": DATA}


async def test_a_full_disk_is_no_fault_of_the_server(
    downloader: Downloader, tmp_path: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, DATA)

    with small_disk(tmp_path / "disk", "1m") as disk:
        async with served(handler) as server:
            with pytest.raises(OSError, match="No space") as raised:
                await downloader.bring([server.file("x", len(DATA))], disk / "a", Counted())
            assert raised.value.errno == errno.ENOSPC
            assert len(server.told) == 1


async def test_the_rate_is_kept(into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, DATA)

    downloader = Downloader(FetchLimits(concurrent=2, rate=4_000_000), MANNERS)
    async with served(handler) as server:
        files = [server.file("x", len(DATA)), server.file("y", len(DATA))]
        started = time.monotonic()
        await downloader.bring(files, into, Counted())
        taken = time.monotonic() - started
    await downloader.close()
    # Of two slots one may use half of the rate, with all its connections together.
    assert taken > 2 * len(DATA) / 2_000_000 - 0.5


async def test_only_so_many_artifacts_and_files_at_a_time(tmp_path: Path) -> None:
    under_way: set[str] = set()
    most_files, most_artifacts = 0, 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal most_files, most_artifacts
        under_way.add(request.path)
        most_files = max(most_files, len(under_way))
        most_artifacts = max(most_artifacts, len({path.split("/")[1] for path in under_way}))
        await asyncio.sleep(0.1)
        under_way.discard(request.path)
        return give(request, b"x")

    downloader = Downloader(FetchLimits(concurrent=2), MANNERS)
    async with served(handler) as server, asyncio.TaskGroup() as group:
        for artifact in range(5):
            files = [server.file(f"{artifact}/{number}", 1) for number in range(10)]
            group.create_task(downloader.bring(files, tmp_path / str(artifact), Counted()))
    await downloader.close()
    assert most_artifacts == 2
    assert 4 < most_files <= 8


async def test_one_file_that_fails_ends_the_others_and_nothing_stays_open(
    downloader: Downloader, into: Path
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/gone":
            await asyncio.sleep(0.1)
            raise web.HTTPNotFound
        response = await begin(request, DATA, HALF)
        await asyncio.sleep(30)
        return response

    async with served(handler) as server:
        names = ("x", "y", "gone", "z")
        with pytest.raises(SourceError, match="/gone: not found"):
            await downloader.bring(
                [server.file(name, len(DATA)) for name in names], into, Counted()
            )
    assert not [path for path in opened() if path.startswith(str(into))]


def opened() -> list[str]:
    """What this process has open."""
    found = []
    for each in os.scandir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the folder itself
            found.append(os.readlink(each.path))
    return found


async def test_nothing_to_bring_is_brought(downloader: Downloader, into: Path) -> None:
    assert await downloader.bring([], into, Counted()) == ()
    assert found_in(into) == {}


async def test_an_empty_file_is_a_file(downloader: Downloader, into: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return give(request, b"")

    async with served(handler) as server:
        (received,) = await downloader.bring([server.file("x", 0)], into, Counted())
    assert received == Received("x", 0, sha256(b""))
    assert found_in(into) == {"x": b""}
