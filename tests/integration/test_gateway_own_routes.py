"""Busy models have routes of their own in Envoy; nothing else may be different for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from overbook.gateway.snapshot.names import infer_path, own_cluster
from tests.integration.gateway_fakes import World, eventually, running_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Here "iris" is busy and has its route, "wine" is hot."""
    async with running_world({"iris": [0], "wine": [0]}) as running:
        await running.make_hot("iris", "wine")
        await _busy(running, "iris")
        yield running


async def _busy(world: World, model: str) -> None:
    """Ask until the model has its route, and Envoy knows it."""
    async with asyncio.timeout(20):
        while own_cluster(model) not in world.gateway.feed:
            await asyncio.gather(*(world.infer(model) for _ in range(4)))
        await world.gateway.feed.wait_acked(world.gateway.feed.revision, 5)


async def _routes(world: World) -> str:
    """Envoy's own view of its routes."""
    socket = httpx.AsyncHTTPTransport(uds=str(world.folder / "gw-admin.sock"))
    async with httpx.AsyncClient(transport=socket, base_url="http://admin") as admin:
        reply = await admin.get("/config_dump", params={"resource": "dynamic_route_configs"})
    return reply.text


async def test_only_busy_models_have_one(world: World) -> None:
    routes = await _routes(world)
    assert infer_path("iris") in routes
    assert infer_path("wine") not in routes
    assert own_cluster("wine") not in world.gateway.feed


async def test_requests_are_counted_once(world: World) -> None:
    await eventually(lambda: not world.agent.in_flight["iris"])
    await asyncio.sleep(0.3)  # whatever was asked before is reported
    before = world.agent.usage["iris"]
    for _ in range(7):
        assert (await world.infer("iris")).status_code == 200
    await world.grpc_infer("iris")
    await eventually(lambda: world.agent.usage["iris"] >= before + 8)
    assert world.agent.usage["iris"] == before + 8


async def test_no_request_fails_or_is_missed_under_evictions(world: World) -> None:
    world.server.delay["iris"] = 0.003
    stop = asyncio.Event()
    statuses: list[int] = []

    async def traffic() -> None:
        while not stop.is_set():
            statuses.append((await world.infer("iris")).status_code)
            await asyncio.sleep(0)

    clients = [asyncio.create_task(traffic()) for _ in range(4)]
    for _ in range(25):
        await asyncio.sleep(0.02)
        async with world.agent._loading["iris"]:
            await asyncio.wait_for(world.agent.withdraw("iris"), 5)
            assert world.server.running == 0
            world.server.loaded.discard("iris")
    stop.set()
    await asyncio.gather(*clients)
    assert set(statuses) == {200}
    assert world.agent.loads["iris"] >= 20
    assert world.server.misses["iris"] == 0


async def test_a_withdrawal_waits_for_requests_in_flight(world: World) -> None:
    world.server.delay["iris"] = 0.5
    request = asyncio.create_task(world.infer("iris"))
    await eventually(lambda: world.server.running > 0)
    withdrawn = world.agent.withdraw("iris")
    await asyncio.sleep(0.1)
    assert not withdrawn.done()
    await asyncio.wait_for(withdrawn, 5)
    assert world.server.running == 0
    assert (await request).status_code == 200


async def test_who_waits_for_the_model_does_not_delay_its_withdrawal(world: World) -> None:
    async with world.agent._loading["iris"]:
        await asyncio.wait_for(world.agent.withdraw("iris"), 5)
        world.server.loaded.discard("iris")
        # Comes by the route of the model's own, and waits where it is loaded.
        request = asyncio.create_task(world.infer("iris"))
        await eventually(lambda: world.agent.activations != [])
        await asyncio.wait_for(world.agent.withdraw("iris"), 5)
        assert not request.done()
    assert (await request).status_code == 200


async def test_a_model_that_the_server_lost_is_brought_back(world: World) -> None:
    world.server.loaded.discard("iris")
    assert (await world.infer("iris")).status_code == 200
    assert ("iris", True) in world.agent.activations


async def test_a_header_that_names_another_model_is_refused(world: World) -> None:
    reply = await world.infer("iris", seldon_model="wine")
    assert reply.status_code == 400
    assert (await world.infer("iris", seldon_model="iris")).status_code == 200


async def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
    writer.write(
        b"POST /v2/models/iris/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\nx"
    )
    head = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 413 ")


async def test_the_route_goes_with_the_model_and_then_its_cluster(world: World) -> None:
    await asyncio.wait_for(world.agent.withdraw("iris"), 5)
    await eventually(lambda: own_cluster("iris") not in world.gateway.feed, 10)
    assert infer_path("iris") not in await _routes(world)
    assert (await world.infer("iris")).status_code == 200
