"""How many connections clients may have, how slowly they may send and read, and what Envoy says to what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Awaitable

import grpc
import h2.errors
import h2.events
import h2.settings
import pytest

from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.wire import oip_pb2
from overbook.wire.limits import MAX_HEAD, MAX_HEADERS
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, eventually, running_world
from tests.integration.raw_clients import Http2, answer, connected, head
from tests.unit.wire.writing import block

_PATH = "/v2/models/iris/infer"


async def _goes_on(world: World) -> None:
    """Whoever behaves is served."""
    assert (await world.infer("iris")).status_code == 200
    assert (await world.grpc_infer("iris")).model_name == "iris"


async def test_no_more_connections_than_there_may_be() -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(connections=40)) as world:
        await world.make_hot("iris")
        await _goes_on(world)
        async with contextlib.AsyncExitStack() as opened:
            served = 0
            for _ in range(60):
                reader, writer = await opened.enter_async_context(connected(world.port))
                writer.write(head(_PATH, 2) + b"{}")
                served += (await answer(reader)).status == 200
            assert 20 <= served < 40
            # Who was there before, and we ourselves, have theirs.
            await _goes_on(world)
            assert await world.gateway.admin.is_live()
        # When they are gone there is room again.
        async with asyncio.timeout(5):
            # What is waited for is in another process.
            while not await _is_served(world.port):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def _is_served(port: int) -> bool:
    async with connected(port) as (reader, writer):
        writer.write(head(_PATH, 2) + b"{}")
        return (await answer(reader)).status == 200


async def test_150_connections_of_a_byte_a_second_do_not_last() -> None:
    """In the head of a request and in its body. What is whole may take as long as it takes."""
    limits = EdgeLimits(head_seconds=1, request_seconds=3)
    late = '{"error":"request: not whole within 3 s, or its headers not within 1 s"}'
    async with running_world({"iris": [0], "slow": [0]}, edge=limits) as world:
        await world.make_hot("iris", "slow")
        world.server.delay["slow"] = 5

        async def trickle(first: bytes) -> tuple[int, str, float]:
            began = time.monotonic()
            async with connected(world.port) as (reader, writer):
                writer.write(first)
                saying = asyncio.create_task(answer(reader, 20))
                while not saying.done():
                    with contextlib.suppress(ConnectionError):
                        writer.write(b"x")
                        await writer.drain()
                    await asyncio.wait({saying}, timeout=0.2)
                said = saying.result()
                return said.status, said.body.strip(), time.monotonic() - began

        whole = asyncio.create_task(world.infer("slow"))
        stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = world.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer"
        )
        call = stream(timeout=20)
        await call.write(block(1, "slow"))
        heads = [asyncio.create_task(trickle(b"POST " + _PATH.encode())) for _ in range(75)]
        bodies = [asyncio.create_task(trickle(head(_PATH, 10_000))) for _ in range(75)]
        large = asyncio.create_task(trickle(head(_PATH, 10_000_000)))
        await _goes_on(world)
        for each in heads:
            status, body, seconds = await each
            assert (status, body) == (408, late)
            assert seconds < 3
        for each in (*bodies, large):
            status, body, seconds = await each
            assert (status, body) == (408, late)
            assert 2.5 < seconds < 6
        assert (await whole).status_code == 200
        said = await call.read()
        assert isinstance(said, bytes)
        assert oip_pb2.ModelInferResponse.FromString(said).model_name == "slow"
        # A stream that says nothing for a while goes on too.
        await asyncio.sleep(3)
        await call.write(block(1, "iris"))
        assert isinstance(await call.read(), bytes)
        call.cancel()


async def test_a_connection_without_a_request_is_closed() -> None:
    async with (
        running_world({"iris": [0]}, edge=EdgeLimits(idle_seconds=1)) as world,
        connected(world.port) as (reader, _),
    ):
        async with asyncio.timeout(10):
            assert await reader.read() == b""


async def test_an_answer_that_its_client_does_not_take_is_given_up() -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(unread_seconds=1)) as world:
        await world.make_hot("iris")
        size = 64 * 1024 * 1024
        with socket.create_connection(("127.0.0.1", world.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(head(_PATH, 2, f"x-answer-bytes: {size}") + b"{}")
            await asyncio.sleep(6)
            await _goes_on(world)
            client.settimeout(5)
            got = 0
            with contextlib.suppress(ConnectionError):
                while piece := client.recv(1024 * 1024):
                    got += len(piece)
        assert got < size // 2


async def test_streams_of_one_connection_are_counted() -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(streams=10)) as world:
        await world.make_hot("iris")
        async with connected(world.port) as streams:
            client = Http2(*streams)
            listening = asyncio.create_task(client.listen())
            # Sent before the other side has said how many it takes.
            called = [client.call(f"/{SERVICE}/ModelInfer") for _ in range(20)]
            await client.flush()
            await eventually(lambda: len(_resets(client)) >= 10)
            assert client.frames.remote_settings.max_concurrent_streams == 10
            assert _resets(client) == dict.fromkeys(
                called[10:], h2.errors.ErrorCodes.REFUSED_STREAM
            )
            await _goes_on(world)
            listening.cancel()


def _resets(client: Http2) -> dict[int, int]:
    return {
        event.stream_id: event.error_code
        for event in client.events
        if isinstance(event, h2.events.StreamReset)
    }


async def test_who_takes_back_what_it_asks_is_sent_away() -> None:
    """Rapid resets (CVE-2023-44487), as many as the other side takes."""
    async with running_world({"iris": [0]}) as world:
        await world.make_hot("iris")
        async with connected(world.port) as streams:
            client = Http2(*streams)
            listening = asyncio.create_task(client.listen())
            await client.flush()
            sent = 0
            with contextlib.suppress(ConnectionError):
                while not client.ended and sent < 20_000:
                    for _ in range(50):
                        client.frames.reset_stream(client.call(f"/{SERVICE}/ModelInfer"))
                        sent += 1
                    await client.flush()
                    await asyncio.sleep(0)
            await asyncio.wait({listening}, timeout=5)
            assert client.ended
            assert sent < 20_000
        await _goes_on(world)
        assert world.gateway.envoy.restarts == 0


_TOO_LARGE = f"headers: too large, at most {MAX_HEAD} bytes and {MAX_HEADERS} headers are accepted"
_HEADS = {
    "too many": [f"x-{number}: y" for number in range(MAX_HEADERS)],
    "too large": [f"x-{number}: {'y' * 8000}" for number in range(8)],
}


@pytest.mark.parametrize("why", _HEADS)
async def test_headers_are_bounded(why: str) -> None:
    async with running_world({"iris": [0]}) as world:
        await world.make_hot("iris")
        async with connected(world.port) as (reader, writer):
            writer.write(head(_PATH, 2, *_HEADS[why]) + b"{}")
            said = await answer(reader)
            assert (said.status, json.loads(said.body)) == (431, {"error": _TOO_LARGE})
        pairs = [each.partition(": ")[::2] for each in _HEADS[why]]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.grpc_infer("iris", metadata=dict(pairs))
        assert caught.value.code() in {
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.INTERNAL,
        }
        await _goes_on(world)


async def test_http_1_0_needs_no_host() -> None:
    async with running_world({"iris": [0]}) as world:
        await world.make_hot("iris")
        async with connected(world.port) as (reader, writer):
            writer.write(f"POST {_PATH} HTTP/1.0\r\ncontent-length: 2\r\n\r\n{{}}".encode())
            assert (await answer(reader)).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: no\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\nx\x00: y\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_told_why(sent: bytes) -> None:
    async with running_world({"iris": [0]}) as world, connected(world.port) as (reader, writer):
        writer.write(sent)
        said = await answer(reader)
        assert said.status == 400
        assert json.loads(said.body)["error"].startswith("request: not valid HTTP (")


async def test_no_more_requests_per_second_than_there_may_be() -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(rate=5)) as world:
        said = [await world.infer("iris") for _ in range(20)]
        refused = [each for each in said if each.status_code == 429]
        assert 10 <= len(refused) <= 15
        for each in refused:
            assert each.json() == {
                "error": "gateway: more than 5 requests per second; send this one again later"
            }
            assert each.headers["retry-after"] == "1"
        asked = asyncio.gather(*(world.grpc_infer("iris") for _ in range(20)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "more than 5 requests per second" in (caught.value.details() or "")


_LONG = "n" * 5_000_000


@pytest.mark.parametrize(
    "method",
    [
        "ModelInfer",
        "ModelReady",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "TraceSetting",
        "SystemSharedMemoryStatus",
        "SystemSharedMemoryRegister",
        "SystemSharedMemoryUnregister",
    ],
)
async def test_an_error_shows_little_of_a_long_name(method: str) -> None:
    async with running_world({"iris": [0]}) as world:
        for message in (block(1, _LONG), block(2, _LONG), block(1, "iris") + block(2, _LONG)):
            details = await _details(world.raw_call(message, method=f"/{SERVICE}/{method}"))
            assert len(details) < 1000


async def _details(call: Awaitable[object]) -> str:
    """What an error says; "" where there is none."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.details() or ""
    return ""
