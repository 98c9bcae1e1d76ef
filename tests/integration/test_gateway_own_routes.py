"""Busy models have routes of their own in Envoy; nothing else may be different for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from overbook.access.tokens import digest
from overbook.gateway.snapshot.names import infer_path, own_cluster
from overbook.wire import scheduler_pb2
from tests.integration.gateway_fakes import (
    World,
    answer_to_a_too_large_body,
    eventually,
    evict_under_traffic,
    running_world,
)


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
    await eventually(lambda: world.agent.usage["iris"] == world.server.hits["iris"])
    before = world.agent.usage["iris"]
    for _ in range(7):
        assert (await world.infer("iris")).status_code == 200
    await world.grpc_infer("iris")
    await eventually(lambda: world.agent.usage["iris"] >= before + 8)
    assert world.agent.usage["iris"] == before + 8


async def test_no_request_fails_or_is_missed_under_evictions(world: World) -> None:
    assert await evict_under_traffic(world, "iris", 25) == {200}
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
    head = await answer_to_a_too_large_body(world.port, "iris")
    assert head.startswith(b"HTTP/1.1 413 ")


async def test_the_route_goes_with_the_model_and_then_its_cluster(world: World) -> None:
    await asyncio.wait_for(world.agent.withdraw("iris"), 5)
    await eventually(lambda: own_cluster("iris") not in world.gateway.feed, 10)
    assert infer_path("iris") not in await _routes(world)
    assert (await world.infer("iris")).status_code == 200


async def test_where_tokens_are_asked_for_busy_models_ask_like_the_others(world: World) -> None:
    key = bytes(32)
    tokens = [
        scheduler_pb2.AccessToken(
            name=name, role="infer", models=models, digest=digest(key, f"ob_{name}")
        )
        for name, models in (("all", []), ("one", ["iris"]), ("other", ["wine", "x*"]))
    ]
    access = scheduler_pb2.Access(asked=True, key=key, tokens=tokens)
    await world.scheduler.change(scheduler_pb2.CatalogueUpdate(access=access), 5)
    url = f"http://127.0.0.1:{world.port}"
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:

        async def status(who: str, model: str) -> int:
            shown = {"authorization": f"Bearer ob_{who}"}
            return (await client.post(infer_path(model), json={}, headers=shown)).status_code

        assert infer_path("iris") in await _routes(world)
        assert [await status(who, "iris") for who in ("all", "one", "other", "none")] == [
            *(200, 200, 403, 401)
        ]
        assert [await status(who, "wine") for who in ("all", "one", "other", "none")] == [
            *(200, 403, 200, 401)
        ]
        await world.scheduler.change(
            scheduler_pb2.CatalogueUpdate(access=scheduler_pb2.Access(asked=False)), 6
        )
        assert await status("none", "iris") == 200
