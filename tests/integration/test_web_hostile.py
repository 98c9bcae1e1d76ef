"""Servers that answer so that reading it hurts: pages, lists and headers that are large, deep or without end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Source, Wanted
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.http import HttpSource
from overbook.artifacts.sources.web.mlflow import MlflowSource
from overbook.artifacts.sources.web.registry.source import RegistrySource
from overbook.artifacts.sources.web.retries import Manners
from tests.integration.web_harness import Handler, served

MIB = 1024 * 1024
# Seconds of a processor that the event loop may be busy with one thing.
LONGEST_STEP = 0.05


@pytest.fixture
async def downloader() -> AsyncIterator[Downloader]:
    made = Downloader(FetchLimits(), Manners(silence=1.0, answer=3.0, tries=1))
    yield made
    await made.close()


def no_other(address: str, least: Zone) -> Source:
    raise AssertionError(f"nobody else is to be asked for {address}")


def giving(body: bytes, content_type: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type)

    return handler


async def longest_step(work: Awaitable[object]) -> float:
    """Seconds of this thread's own processor time that the loop was busy with at most between two looks at it; what
    other threads and processes do does not count.
    """
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    looking = asyncio.create_task(look())
    try:
        await work
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    return longest


async def refusal(look: Callable[[], Awaitable[object]]) -> SourceError:
    raised: list[SourceError] = []

    async def work() -> None:
        with pytest.raises(SourceError) as found:
            await look()
        raised.append(found.value)

    assert await longest_step(work()) < LONGEST_STEP
    assert len(str(raised[0])) < 500
    assert str(raised[0]).isprintable()
    return raised[0]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ("<!--", "no files are listed there"),
        ("<a ", "lists more than 400000 tags and attributes: refused"),
        ("<![", "no files are listed there"),
        ("&", "no files are listed there"),
        ("<a href=%d>", "lists more than 20000 files, folders and other links: refused"),
    ],
)
async def test_a_page_of_8_mib_does_not_hold_up_the_loop(
    downloader: Downloader, shape: str, why: str
) -> None:
    if "%d" in shape:
        page = "".join(shape % number for number in range(8 * MIB // 16))
    else:
        page = shape * (8 * MIB // len(shape))
    async with served(giving(page.encode(), "text/html")) as server:
        source = HttpSource(downloader)
        error = await refusal(lambda: source.look(Wanted(f"{server.base}/m/"), None))
    assert why in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 8 * MIB,
        b"[" * 50_000,
        b'{"model_version": ' + b"[" * 50_000,
        b"[" + b"0," * (4 * MIB - 100) + b"0]",
        b'{"model_version": "' + b"\\n" * (4 * MIB - 100) + b'"}',
        b'{"model_version": {"version": ' + b"9" * 5000 + b"}}",
        b'{"model_version": [], "files": 7}',
        b"[]",
        b"7",
        b"\xff\xfe",
    ],
)
async def test_what_is_no_answer_of_mlflow(downloader: Downloader, body: bytes) -> None:
    async with served(giving(body, "application/json")) as server:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": server.base})
        error = await refusal(lambda: source.look(Wanted("models:/m/1"), None))
    assert error.trouble is Trouble.BAD_ADDRESS


@pytest.mark.parametrize("files", ["7", "null", "[null]", '[{"path": 7}]', '{"path": "x"}'])
@pytest.mark.parametrize("uri", ["mlflow-artifacts:/7/m", "runs:/r/m"])
async def test_lists_of_mlflow_that_are_none(downloader: Downloader, files: str, uri: str) -> None:
    answers = {
        "/api/2.0/mlflow/model-versions/get": '{"model_version": {"version": "1"}}',
        "/api/2.0/mlflow/model-versions/get-download-uri": f'{{"artifact_uri": "{uri}"}}',
        "/api/2.0/mlflow-artifacts/artifacts": f'{{"files": {files}}}',
        "/api/2.0/mlflow/runs/get": (
            f'{{"run": {{"info": {{}}, "outputs": {{"model_outputs": {files}}}}}}}'
        ),
        "/api/2.0/mlflow/logged-models/": '{"model": {"info": 7}}',
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=answers.get(request.path, "{}"), content_type="application/json")

    async with served(handler) as server:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": server.base})
        with contextlib.suppress(SourceError):
            await source.look(Wanted("models:/m/1"), None)


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts://[",
        "http://[::1",
        "x" * MIB,
        "s3://b/" + "x" * MIB,
        "runs:/r",
        "::",
        "\x00",
    ],
)
async def test_addresses_of_files_that_are_none(downloader: Downloader, uri: str) -> None:
    answers: dict[str, object] = {
        "/api/2.0/mlflow/model-versions/get": {"model_version": {"version": "1"}},
        "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": uri},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answers.get(request.path, {}))

    async with served(handler) as server:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": server.base})
        await refusal(lambda: source.look(Wanted("models:/m/1"), None))


async def test_what_mlflow_says_does_nothing_to_a_terminal(downloader: Downloader) -> None:
    told = {"version": "1\x1b[2J", "status": "FAILED\x1b]0;owned\x07\r\nmodel/x is ready"}

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"model_version": told})

    async with served(handler) as server:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": server.base})
        error = await refusal(lambda: source.look(Wanted("models:/m@prod"), None))
    assert "version 1\\x1b[2J of model m was not registered" in str(error)


@pytest.mark.parametrize(
    ("status", "tags", "said"),
    [
        (403, "", "m has no tag v1, or is not there at all"),
        (500, "", "m has no tag v1, or is not there at all"),
        (404, "", "has no repository m"),
        (200, "[" * 100_000, "m has no tag v1"),
        (200, '{"tags": 7}', "m has no tag v1"),
        (200, '{"tags": ["a\\u001b[2J", 7, "a b"]}', "m has no tag v1"),
        (
            200,
            json.dumps({"tags": [f"v{number}" for number in range(2, 100_000)]}),
            "m has no tag v1; its tags: v2, v3, v4, v5, v6, …",
        ),
    ],
)
async def test_tags_that_a_registry_names_where_one_is_missing(
    downloader: Downloader, status: int, tags: str, said: str
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/m/tags/list":
            return web.Response(status=status, text=tags)
        return web.Response(status=404, text="{}")

    async with served(handler) as server:
        source = RegistrySource(downloader, Bounds(1 << 20))
        uri = f"oci://{server.base.removeprefix('http://')}/m:v1"
        error = await refusal(lambda: source.look(Wanted(uri), None))
    assert error.trouble is Trouble.NOT_FOUND
    assert str(error).endswith(said)


@pytest.mark.parametrize(
    "challenge", ["a" * 8000, 'Bearer realm="' + "x" * 7000 + '"', "Bearer " + 'a="' * 2500]
)
async def test_a_challenge_that_is_long(downloader: Downloader, challenge: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async with served(handler) as server:
        source = RegistrySource(downloader, Bounds(1 << 20))
        uri = f"oci://{server.base.removeprefix('http://')}/m:v1"
        error = await refusal(lambda: source.look(Wanted(uri), None))
    assert error.trouble is Trouble.NOT_ALLOWED


@pytest.mark.parametrize(
    "body", [b"\xff" * 4 * MIB, b"[" * MIB, b"[" * 10_000, b"{}", b"7", b'{"token": 7}']
)
async def test_tokens_that_are_none(downloader: Downloader, body: bytes) -> None:
    """Neither guessed at for minutes, nor read without bound."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            return web.Response(body=body)
        host = request.host
        challenge = f'Bearer realm="http://{host}/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async with served(handler) as server:
        source = RegistrySource(downloader, Bounds(1 << 20))
        uri = f"oci://{server.base.removeprefix('http://')}/m:v1"
        async with asyncio.timeout(10):
            await refusal(lambda: source.look(Wanted(uri), None))


async def test_an_index_of_more_platforms_than_are_named(downloader: Downloader) -> None:
    listed = [
        {"digest": f"sha256:{'0' * 64}", "platform": {"os": f"os\x1b{number}"}}
        for number in range(5000)
    ]

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"manifests": listed})

    async with served(handler) as server:
        source = RegistrySource(downloader, Bounds(1 << 20))
        uri = f"oci://{server.base.removeprefix('http://')}/m:v1"
        error = await refusal(lambda: source.look(Wanted(uri), None))
    assert error.trouble is Trouble.NOT_FOUND


async def test_a_run_with_more_models_than_are_asked_about(downloader: Downloader) -> None:
    models = [{"model_id": f"m-{number}"} for number in range(101)]
    answers: dict[str, object] = {
        "/api/2.0/mlflow/model-versions/get": {"model_version": {"version": "1"}},
        "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": "runs:/r/m"},
        "/api/2.0/mlflow/runs/get": {"run": {"info": {}, "outputs": {"model_outputs": models}}},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answers.get(request.path, {"model": {"info": {"name": "no"}}}))

    async with served(handler) as server:
        source = MlflowSource(downloader, no_other, {"MLFLOW_TRACKING_URI": server.base})
        error = await refusal(lambda: source.look(Wanted("models:/m/1"), None))
        assert len(server.told) == 3
    assert "run r logged more than 100 models" in str(error)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-Y: z\r\n", b"x"])
async def test_an_answer_that_never_begins(downloader: Downloader, piece: bytes) -> None:
    """Interim answers, headers or a first line without end: neither for ever, nor all of memory."""
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if not piece.startswith(b"HTTP") and piece != b"x":
                writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(piece * 1000)
                await writer.drain()
                await asyncio.sleep(0.001)
        except OSError:
            ended.set()
        finally:
            writer.close()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        source = HttpSource(downloader)
        wanted = Wanted(f"http://127.0.0.1:{port}/x")
        with pytest.raises(SourceError) as raised:
            await source.look(wanted, None)
        assert raised.value.trouble is Trouble.UNREACHABLE
        await asyncio.wait_for(ended.wait(), 5)
