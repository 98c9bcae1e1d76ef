"""Hubs that answer without end, too much, or lead where nobody may: with the hub's real client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from huggingface_hub import constants

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Wanted
from overbook.artifacts.sources.web.download import Downloader, Network
from overbook.artifacts.sources.web.hub.source import HubSource
from overbook.artifacts.sources.web.retries import Manners
from tests.integration.web_harness import FAR, Handler, far_is_public, served, without_proxies

MIB = 1024 * 1024
WANTED = Wanted("hf://a/b")
COMMIT = "0" * 40
# Beside what is read, what waits on its way: in buffers here, in the kernel, and at the server.
ON_THE_WAY = 12 * MIB


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token, and no proxy."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    without_proxies(monkeypatch)


@pytest.fixture
async def source() -> AsyncIterator[HubSource]:
    downloader = Downloader(FetchLimits(), Manners(tries=1), Network(zone_of=far_is_public))
    yield HubSource(downloader, longest=1.5)
    await downloader.close()


async def refusal(source: HubSource) -> SourceError:
    with pytest.raises(SourceError) as raised:
        await source.look(WANTED, None)
    assert len(str(raised.value)) < 500
    return raised.value


async def no_thread_is_left() -> None:
    for each in threading.enumerate():
        if each.name == "overbook-hub":
            await asyncio.to_thread(each.join, 5)
            assert not each.is_alive()


class Endless:
    """Sends the same for as long as somebody takes it, ``pause`` seconds in between. ``sent``: bytes; ``left``: they
    have gone.
    """

    def __init__(self, status: int, piece: bytes, pause: float = 0.0) -> None:
        self._status, self._piece, self._pause = status, piece, pause
        self.sent = 0
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            status=self._status, headers={"Content-Type": "application/json"}
        )
        await response.prepare(request)
        try:
            while True:
                await response.write(self._piece)
                self.begun.set()
                self.sent += len(self._piece)
                await asyncio.sleep(self._pause)
        finally:
            self.left.set()


@pytest.mark.parametrize("status", [200, 401, 404, 500])
async def test_an_answer_without_end_is_read_to_a_bound(
    source: HubSource, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    handler = Endless(status, b'{"siblings": [' + b'{"rfilename": "x"},' * 5000)
    async with served(handler) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        error = await refusal(source)
        await asyncio.wait_for(handler.left.wait(), 5)
    if status == 200:
        assert error.trouble is Trouble.REFUSED
        assert "the answer has more than 8388608 bytes: refused" in str(error)
    assert handler.sent < 8 * MIB + ON_THE_WAY
    await no_thread_is_left()


async def test_an_answer_that_drips_ends_in_time_and_so_does_its_thread(
    source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Endless(200, b" ", pause=0.05)
    async with served(handler) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        error = await refusal(source)
        assert str(error) == "hf://a/b: the hub has not answered within 1.5 s"
        await asyncio.wait_for(handler.left.wait(), 5)
        await no_thread_is_left()


async def test_who_leaves_leaves_no_thread(
    source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = Endless(200, b" ", pause=0.05)
    async with served(handler) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        looking = asyncio.create_task(source.look(WANTED, None))
        await handler.begun.wait()
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        await asyncio.wait_for(handler.left.wait(), 5)
        await no_thread_is_left()


def telling(body: bytes) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    return handler


def with_files(*siblings: object, **more: object) -> bytes:
    told = {"id": "a/b", "sha": COMMIT, "gated": False, "siblings": siblings} | more
    return json.dumps(told).encode()


LFS = {"sha256": "0" * 64, "size": 1, "pointerSize": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"siblings": [' + b"0," * MIB + b"0]}",
        b"[]",
        b"",
        b"<html>",
        with_files(sha=7),
        with_files(sha="main"),
        with_files(7),
        with_files({"rfilename": 7}),
        with_files({"rfilename": "x", "size": "1"}),
        with_files({"rfilename": "x", "size": -1}),
        with_files({"rfilename": "x", "blobId": 7}),
        with_files({"rfilename": "x", "lfs": LFS | {"sha256": 7}}),
        with_files({"rfilename": "x", "lfs": LFS | {"sha256": "../../x"}}),
        with_files({"rfilename": "x", "lfs": 7}),
    ],
)
async def test_what_is_no_answer_of_a_hub(
    source: HubSource, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async with served(telling(body)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        error = await refusal(source)
    assert error.trouble is Trouble.UNREACHABLE
    assert "answers what no hub does" in str(error)


async def test_what_is_told_besides_is_not_looked_at(
    source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = with_files({"rfilename": "x", "size": 1}, cardData="[" * 1000, _id=[[]], siblings2=7)
    async with served(telling(body)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.base)
        assert [each.name for each in (await source.look(WANTED, None)).files] == ["x"]


@pytest.mark.parametrize(
    ("host", "location", "said"),
    [
        ("127.0.0.1", lambda here: "http://169.254.169.254/x", "refused, as it is link-local"),
        ("127.0.0.1", lambda here: "http://metadata.google.internal/x", "refused, as it is link"),
        (FAR, lambda here: "http://10.0.0.1/x", "refused, as a server farther away leads there"),
        (FAR, lambda here: here, "127.0.0.1: refused, as a server farther away leads there"),
    ],
)
async def test_where_a_hub_may_lead(
    source: HubSource,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    location: Callable[[str], str],
    said: str,
) -> None:
    async with served(telling(with_files())) as here:

        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": location(f"{here.base}/x")})

        async with served(handler, host) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.base)
            error = await refusal(source)
        assert here.told == []
    assert error.trouble is Trouble.REFUSED
    assert said in str(error)
