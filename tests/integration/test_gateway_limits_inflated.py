"""A few kilobytes that stand for gigabytes: refused over REST and gRPC, and nobody holds them meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from collections.abc import AsyncIterator, Awaitable

import grpc
import httpx
import psutil
import pytest

from overbook.wire import oip_pb2
from overbook.wire.limits import MAX_BODY, MAX_LOOKED_AT, MAX_MESSAGE
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, running_world
from tests.unit.wire.writing import block

_MIB = 1024 * 1024
# What Envoy, or all else in the test's own process, may take more than before.
_MOST_MORE = 200 * _MIB
# The gateway inflates messages itself, two at once, and the C library keeps what each thread had.
_MOST_MORE_OVER_GRPC = 350 * _MIB


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world({"iris": [0]}) as running:
        yield running


def _zeros(size: int, bits: int) -> bytes:
    """So many zeros, compressed. One piece many times, so that making it takes no time: only the sum at the end of it
    is wrong.
    """
    deflating = zlib.compressobj(9, wbits=bits)
    first, piece = (
        deflating.compress(bytes(_MIB)) + deflating.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + piece * (size // _MIB - 1) + deflating.flush()


_GZIP, _ZLIB, _BARE = 31, 15, -15
_BOMBS = {
    "gzip": ("gzip", _zeros(700 * _MIB, _GZIP)),
    "deflate": ("deflate", _zeros(700 * _MIB, _ZLIB)),
    "bare deflate": ("deflate", _zeros(700 * _MIB, _BARE)),
    "under a wrong name": ("deflate", _zeros(700 * _MIB, _GZIP)),
    "behind a small one": ("gzip", gzip.compress(b"{}") + _zeros(700 * _MIB, _GZIP)),
    "of nothing": ("gzip", gzip.compress(b"") * 20_000),
}
_TOO_LARGE = {
    "error": f"request body: too large when it is inflated, at most {MAX_BODY} bytes are accepted"
}
_TOO_LARGE_MESSAGE = (
    f"message: too large when it is inflated, at most {MAX_MESSAGE} bytes are accepted"
)


async def _taken_during(world: World, work: Awaitable[object]) -> int:
    """The most that Envoy, or this process with all else in it, took beyond what it had before."""
    assert world.gateway.envoy.pid is not None
    processes = [psutil.Process(world.gateway.envoy.pid), psutil.Process()]
    before = [each.memory_info().rss for each in processes]
    working = asyncio.ensure_future(work)
    most = 0
    while not working.done():
        now = [each.memory_info().rss for each in processes]
        most = max(most, *(later - first for first, later in zip(before, now, strict=True)))
        await asyncio.wait({working}, timeout=0.01)
    working.result()
    return most


async def _post(
    world: World, coding: str, body: bytes, path: str = "/v2/models/iris/infer"
) -> httpx.Response:
    headers = {"content-encoding": coding, "seldon-model": "iris"}
    return await world.rest.post(path, content=body, headers=headers)


@pytest.mark.parametrize("hot", [False, True], ids=["cold", "hot"])
async def test_over_rest(world: World, hot: bool) -> None:
    if hot:
        await world.make_hot("iris")

    async def attack() -> None:
        for name, bomb in _BOMBS.items():
            for path in ("/v2/models/iris/infer", "/own/path"):
                answer = await _post(world, *bomb, path)
                assert (answer.status_code, answer.json()) == (413, _TOO_LARGE), name

    assert await _taken_during(world, attack()) < _MOST_MORE
    assert world.server.present["iris"] == world.server.hits["iris"] == 0
    assert (await world.infer("iris")).status_code == 200


_CODINGS = ("gzip", "deflate", "br", "identity", "gzip, gzip")


@pytest.mark.parametrize("size", [0, 100, 2 * MAX_LOOKED_AT, 20 * _MIB])
async def test_what_is_not_too_large_comes_to_the_server_as_it_was_sent(
    world: World, size: int
) -> None:
    """Also what is not compressed as it says, or in a way that nobody here knows: the server answers that."""
    await world.make_hot("iris")
    for body in (gzip.compress(bytes(size), 1), random.Random(1).randbytes(size)):
        for coding in _CODINGS:
            answer = await _post(world, coding, body)
            assert answer.json() == {"model_name": "iris", "bytes": len(body)}, coding


async def _grpc(world: World, method: str, message: bytes, coding: str) -> tuple[str, str]:
    """The status and the text of a call whose message is sent as it is, said to be compressed."""
    frame = b"\1" + len(message).to_bytes(4, "big") + message
    headers = {"content-type": "application/grpc", "grpc-encoding": coding, "te": "trailers"}
    async with httpx.AsyncClient(http1=False, http2=True, timeout=60) as client:
        url = f"http://127.0.0.1:{world.port}{method}"
        answer = await client.post(url, content=frame, headers=headers)
    return answer.headers["grpc-status"], answer.headers["grpc-message"]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    "method", ["ModelInfer", "ModelStreamInfer", "ServerLive", "ModelMetadata"]
)
async def test_over_grpc(world: World, method: str, coding: str) -> None:
    name = block(1, "iris")
    deflating = zlib.compressobj(wbits=_GZIP if coding == "gzip" else _ZLIB)
    start = deflating.compress(name + block(7, b"")) + deflating.flush(zlib.Z_FULL_FLUSH)
    piece = zlib.compressobj(9, wbits=_BARE)
    zeros = piece.compress(bytes(_MIB)) + piece.flush(zlib.Z_FULL_FLUSH)
    bomb = start + zeros * 700

    async def attack() -> None:
        for _ in range(3):
            told = await _grpc(world, f"/{SERVICE}/{method}", bomb, coding)
            assert told == (str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]), _TOO_LARGE_MESSAGE)

    assert await _taken_during(world, attack()) < _MOST_MORE_OVER_GRPC
    assert (await world.grpc_infer("iris")).model_name == "iris"


@pytest.mark.parametrize("coding", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_honest_calls_of_grpc_may_be_compressed(
    world: World, coding: grpc.Compression
) -> None:
    """Those that the gateway answers or carries, where gRPC inflates nothing by itself."""
    await world.make_hot("iris")
    ready = await world.raw_call(
        oip_pb2.ModelReadyRequest(name="iris").SerializeToString() + block(7, bytes(1000)),
        method=f"/{SERVICE}/ModelReady",
        compression=coding,
    )
    assert oip_pb2.ModelReadyResponse.FromString(ready).ready
    request = oip_pb2.ModelInferRequest(
        model_name="iris", raw_input_contents=[bytes(20 * _MIB)]
    ).SerializeToString()
    stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = world.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer"
    )
    call = stream(timeout=10, compression=coding)
    for message in (request, block(1, "iris")):
        await call.write(message)
        answer = await call.read()
        assert isinstance(answer, bytes)
        assert oip_pb2.ModelInferResponse.FromString(answer).model_name == "iris"
    await call.done_writing()
    assert json.loads((await world.infer("iris")).content)["model_name"] == "iris"
