"""Bodies that never end take a bounded part of Envoy's memory and nothing of servers', and small requests go on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

import psutil
import pytest

from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.wire.limits import LARGE_BODY, MAX_BODY
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, running_world
from tests.integration.raw_clients import Http2, Said, connected, unfinished

_MIB = 1024 * 1024
_PATH = "/v2/models/iris/infer"
_FULL = '{"error":"gateway: large bodies take all the memory that it has for them; send this one again later"}'


async def _small_ones_during(
    world: World, attacks: list[asyncio.Task[Said]], seconds: float
) -> None:
    """Small requests are answered, over REST and gRPC, for as long as the attacks last, or so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not all(each.done() for each in attacks):
        assert (await world.infer("iris")).status_code == 200
        assert (await world.grpc_infer("iris")).model_name == "iris"
        await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_unfinished_bodies_are_refused_when_they_take_too_much(chunked: bool) -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(memory=400 * _MIB)) as world:
        await world.make_hot("iris")
        assert world.gateway.envoy.pid is not None
        envoy, ours = psutil.Process(world.gateway.envoy.pid), psutil.Process()
        before = ours.memory_info().rss
        attacks = [
            asyncio.create_task(unfinished(world.port, _PATH, 70 * _MIB, chunked=chunked))
            for _ in range(20)
        ]
        await _small_ones_during(world, attacks, 25)
        # What the heap may have, and a moment of what came before that was seen: a longer one on a busy machine.
        assert envoy.memory_info().rss < 900 * _MIB < 20 * 70 * _MIB
        # The server, which is in this process, has nothing of them.
        assert ours.memory_info().rss - before < 100 * _MIB
        done = [each.result() for each in attacks if each.done()]
        assert len(done) >= 15
        said = Counter((each.status, each.body.strip()) for each in done)
        # Of some the connection was closed while they sent, which they may see first.
        assert set(said) <= {(503, _FULL), (0, "")}, said
        assert said[503, _FULL] > 0
        assert all("retry-after" in each.headers for each in done if each.status)
        for each in attacks:
            each.cancel()
        await asyncio.wait(attacks)
        # Their memory is there again for who needs it.
        body = b"x" * 70 * _MIB
        for _ in range(5):
            whole = await world.rest.post(_PATH, content=body)
            if whole.status_code == 200:
                break
            await asyncio.sleep(0.3)
        assert whole.json() == {"model_name": "iris", "bytes": len(body)}
        assert world.gateway.envoy.restarts == 0


@pytest.mark.slow
async def test_a_body_that_does_not_go_on_leaves_where_memory_is_short() -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(memory=100 * _MIB)) as world:
        await world.make_hot("iris")
        said = await asyncio.create_task(unfinished(world.port, _PATH, 75 * _MIB))
        assert said.status == 408
        assert said.body.startswith('{"error":"request body: nothing came for 15 s or more while')
        assert "retry-after" in said.headers


@pytest.mark.slow
@pytest.mark.alone
async def test_unfinished_messages_over_grpc_are_ended_the_largest_first() -> None:
    async with running_world({"iris": [0]}, edge=EdgeLimits(memory=400 * _MIB)) as world:
        await world.make_hot("iris")
        assert world.gateway.envoy.pid is not None
        envoy = psutil.Process(world.gateway.envoy.pid)
        clients: list[Http2] = []
        listening: list[asyncio.Task[None]] = []
        async with contextlib.AsyncExitStack() as opened, asyncio.TaskGroup() as tasks:
            for _ in range(12):
                client = Http2(*await opened.enter_async_context(connected(world.port)))
                clients.append(client)
                listening.append(tasks.create_task(client.listen()))
                await client.flush()
            ended = [tasks.create_task(_send_message(each, 70 * _MIB)) for each in clients]
            until = time.monotonic() + 15
            while time.monotonic() < until and sum(each.done() for each in ended) < 12:
                assert (await world.infer("iris")).status_code == 200
                assert (await world.grpc_infer("iris")).model_name == "iris"
                await asyncio.sleep(0.01)
            assert envoy.memory_info().rss < 900 * _MIB
            assert sum(_was_reset(each) for each in clients) >= 6
            for each in (*ended, *listening):
                each.cancel()
        assert world.gateway.envoy.restarts == 0


async def _send_message(client: Http2, size: int) -> None:
    """So much of a message that is longer, as far as the other side takes it."""
    stream = client.call(f"/{SERVICE}/ModelInfer")
    left = b"\0" + (size + 1).to_bytes(4, "big")
    sent = 0
    while sent < size and not _was_reset(client) and not client.ended:
        window = min(
            client.frames.local_flow_control_window(stream), client.frames.max_outbound_frame_size
        )
        if window <= 0:
            await asyncio.sleep(0.005)
            continue
        piece = (left or bytes(window))[:window]
        left = b""
        client.frames.send_data(stream, piece)
        sent += len(piece)
        await client.flush()


def _was_reset(client: Http2) -> bool:
    return any(type(each).__name__ == "StreamReset" for each in client.events)


@pytest.mark.parametrize("size", [LARGE_BODY - 1, LARGE_BODY, 5 * _MIB])
async def test_large_bodies_come_to_their_server_as_small_ones_do(size: int) -> None:
    """Whether their length is told or not, hot and cold, and where another header names the model."""
    async with running_world({"iris": [0], "wine": [0]}) as world:
        await world.make_hot("iris")
        body = b"x" * size

        async def chunks() -> AsyncIterator[bytes]:
            yield body

        for content in (body, chunks()):
            said = await world.rest.post(_PATH, content=content)
            assert said.json() == {"model_name": "iris", "bytes": size}
        for content in (body, chunks()):
            said = await world.rest.post(
                "/own/path", content=content, headers={"seldon-model": "iris"}
            )
            assert said.status_code == 405, said.text
        said = await world.rest.post("/v2/models/wine/infer", content=body)
        assert said.json() == {"model_name": "wine", "bytes": size}
        wrong = await world.rest.post(_PATH, content=body, headers={"seldon-model": "wine"})
        assert wrong.status_code == 400
        assert wrong.json()["error"].startswith("seldon-model: header names wine")
        forged = {"x-overbook-model": "wine", "x-overbook-cluster": "rest/wine/0"}
        said = await world.rest.post(_PATH, content=body, headers=forged)
        assert said.json()["model_name"] == "iris"


async def test_a_chunked_body_is_as_long_as_others_may_be_at_most() -> None:
    async with running_world({"iris": [0]}) as world:
        await world.make_hot("iris")
        said = await unfinished(world.port, _PATH, MAX_BODY + 5 * _MIB, chunked=True)
        assert said.status == 413
        assert said.body.strip() == (
            f'{{"error":"request body: too large, at most {MAX_BODY} bytes are accepted"}}'
        )
        assert world.server.present["iris"] == 0
