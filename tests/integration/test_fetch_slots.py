"""Slots against real servers: who drips gives way and is gone on with, and who was asked to come later holds none."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.rclone.source import LARGE
from overbook.artifacts.sources.turns import Rules
from overbook.artifacts.sources.web.download import Downloader, Manners
from tests.integration.rclone_harness import IMPATIENT, Fetch, rclones, s3_secret, source, until
from tests.integration.web_harness import Handler, Served, begin, content, found_in, give, served
from tests.integration.web_harness import sha256 as sha256_of
from tests.stores.proxy import Faults
from tests.stores.s3 import rclone_s3

DATA = content(200_000)
RULES = Rules(slowest=1000.0, window=1.0, patience=0.5)


def dripping(data: bytes, first: int) -> Handler:
    """So many bytes at once, then one now and then."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await begin(request, data, first)
        for each in range(first, len(data)):
            await asyncio.sleep(0.1)
            await response.write(data[each : each + 1])
        return response

    return handle


async def good(request: web.Request) -> web.StreamResponse:
    return give(request, DATA)


@contextlib.asynccontextmanager
async def downloading(
    limits: FetchLimits, manners: Manners | None = None
) -> AsyncIterator[Downloader]:
    made = Downloader(limits, manners or Manners())
    try:
        yield made
    finally:
        await made.close()


async def test_four_servers_that_drip_do_not_keep_a_good_one_waiting(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers: list[Served] = []
        for _ in range(4):
            servers.append(await stack.enter_async_context(served(dripping(DATA, 50_000))))
        fast = await stack.enter_async_context(served(good))
        down = await stack.enter_async_context(downloading(FetchLimits(4, rules=RULES)))
        drips = [
            asyncio.create_task(
                down.bring([each.file("m", len(DATA))], tmp_path / f"drip{n}", lambda _: None)
            )
            for n, each in enumerate(servers)
        ]
        await asyncio.sleep(0.5)
        async with asyncio.timeout(10):
            await down.bring([fast.file("m", len(DATA))], tmp_path / "good", lambda _: None)
        assert found_in(tmp_path / "good") == {"m": DATA}
        ended = [each for each in drips if each.done()]
        assert len(ended) == 1
        with pytest.raises(SourceError) as raised:
            await ended[0]
        assert raised.value.trouble is Trouble.TOO_SLOW
        for each in drips:
            each.cancel()
        await asyncio.gather(*drips, return_exceptions=True)


async def test_what_was_too_slow_is_gone_on_with(tmp_path: Path) -> None:
    answers = [dripping(DATA, 50_000), good]

    async def handle(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    async with (
        served(handle) as slow,
        served(good) as fast,
        downloading(FetchLimits(1, rules=RULES)) as down,
    ):
        file = slow.file("m", len(DATA), sha256=sha256_of(DATA))
        first = asyncio.create_task(down.bring([file], tmp_path / "slow", lambda _: None))
        await asyncio.sleep(0.3)
        await down.bring([fast.file("m", len(DATA))], tmp_path / "fast", lambda _: None)
        with pytest.raises(SourceError, match="brings less than 1000 bytes a second"):
            await first
        await down.bring([file], tmp_path / "slow", lambda _: None)
        assert found_in(tmp_path / "slow") == {"m": DATA}
        again = slow.asked()[1]
        assert again.startswith("GET /m bytes=50")


async def test_who_is_asked_to_come_later_holds_no_slot_meanwhile(tmp_path: Path) -> None:
    answers = [web.Response(status=429, headers={"Retry-After": "2"}), None]

    async def handle(request: web.Request) -> web.StreamResponse:
        return answers.pop(0) or give(request, DATA)

    async with (
        served(handle) as busy,
        served(good) as fast,
        downloading(FetchLimits(1, rules=RULES)) as down,
    ):
        later = asyncio.create_task(
            down.bring([busy.file("m", len(DATA))], tmp_path / "later", lambda _: None)
        )
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await down.bring([fast.file("m", len(DATA))], tmp_path / "fast", lambda _: None)
        assert time.monotonic() - began < 1.0
        assert not later.done()
        await later
        assert found_in(tmp_path / "later") == {"m": DATA}


@pytest.mark.parametrize("size", [LARGE + 1000, LARGE - 1000])
async def test_an_rclone_that_brings_nothing_gives_way(size: int, tmp_path: Path) -> None:
    data = content(size)
    limits = FetchLimits(1, rules=RULES)
    with rclone_s3(tmp_path / "files") as store:
        store.put("shelf", "m.bin", data)
        async with served(good) as fast, downloading(limits) as down:
            fetch = Fetch(source(limits), "s3://shelf/m.bin", s3_secret(store))
            listing = await fetch.look()
            with store.front.with_faults(Faults(hang_after=5_000_000)):
                first = asyncio.create_task(fetch.bring(listing, tmp_path / "in" / "slow"))
                await asyncio.sleep(1.0)
                await down.bring([fast.file("m", len(DATA))], tmp_path / "fast", lambda _: None)
                with pytest.raises(
                    SourceError, match=r"s3://shelf \(secret 'minio'\) brings less"
                ) as raised:
                    await first
                assert raised.value.trouble is Trouble.TOO_SLOW
                assert not rclones()
            store.forget()
            await fetch.bring(listing, tmp_path / "in" / "slow")
        assert found_in(tmp_path / "in" / "slow")["m.bin"] == data
        if size > LARGE:
            assert store.front.sent < size - 1_000_000, "what came is gone on with"


async def test_an_rclone_that_somebody_stops_is_ended_and_gone_on_with(tmp_path: Path) -> None:
    data = content(LARGE + 1000)
    with rclone_s3(tmp_path / "files") as store:
        store.put("shelf", "m.bin", data)
        fetch = Fetch(source(patience=IMPATIENT), "s3://shelf/m.bin", s3_secret(store))
        listing = await fetch.look()
        with store.front.with_faults(Faults(rate=4_000_000)):
            first = asyncio.create_task(fetch.bring(listing, tmp_path / "in" / "it"))
            await until(lambda: sum(fetch.progress) > 1_000_000)
            [process] = rclones()
            process.suspend()
            async with asyncio.timeout(3 * IMPATIENT.stall_s):
                with pytest.raises(SourceError) as raised:
                    await first
        assert raised.value.passing
        assert not rclones()
        await fetch.bring(listing, tmp_path / "in" / "it")
        assert found_in(tmp_path / "in" / "it")["m.bin"] == data
