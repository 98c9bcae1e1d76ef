"""Routing follows residency: withdrawals under traffic, lost agents, several replicas, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from overbook.gateway import newcomers
from overbook.gateway.errors import PortInUse
from overbook.gateway.newcomers import GRANTS
from overbook.gateway.part import GatewayConfig, GatewayPart
from overbook.wire.agent_pb2 import ActivateReply
from tests.integration.fake_inference_server import FakeServer
from tests.integration.gateway_fakes import (
    FakeAgent,
    World,
    agent_target,
    eventually,
    evict_under_traffic,
    running_world,
)

MODELS = {"iris": [0], "wine": [0]}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world(MODELS) as running:
        yield running


@pytest.fixture(params=[True, False], ids=["the server counts", "Envoy counts"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with running_world(MODELS, counts=request.param) as running:
        yield running


async def test_nothing_reaches_the_server_after_withdrawn(either: World) -> None:
    """Evict and re-activate under constant traffic: no failure, and none that the server misses."""
    await either.make_hot("iris", "wine")
    assert await evict_under_traffic(either, "iris", 25) == {200}
    assert either.agent.loads["iris"] >= 10
    assert either.server.misses["iris"] == 0


async def test_nothing_reaches_the_server_after_withdrawn_without_marks(
    either: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where every request takes the cold path, and so Envoy is told nothing."""
    monkeypatch.setattr(newcomers, "GRANTS", 1_000_000)
    monkeypatch.setattr(newcomers, "SETTLED_SECONDS", 3600.0)
    assert (await either.infer("iris")).status_code == 200
    told = either.gateway.feed.revision
    assert await evict_under_traffic(either, "iris", 25) == {200}
    assert either.agent.loads["iris"] >= 10
    assert either.server.misses["iris"] == 0
    assert either.gateway.feed.revision == told


@pytest.mark.parametrize("times", [1, 5])
async def test_a_request_whose_model_is_taken_back_before_it_heard_of_it_is_answered(
    either: World, times: int
) -> None:
    """What the agent takes back, rescues and takes back overtakes its answer; it keeps the model all the same."""
    agent, router = either.agent, either.gateway.router
    unloads: list[asyncio.Task[None]] = []

    async def take_back(model: str) -> None:
        for left in reversed(range(times)):
            unloads.append(agent.withdraw(model, unload=not left))
            await eventually(lambda: not router.is_hot(model, "fake/0"))
            if left:
                agent.make_hot(model)
                await eventually(lambda: router.is_hot(model, "fake/0"))
        # Long enough for all that goes on without that request.
        await asyncio.sleep(0.05)

    agent.replying = take_back
    for asked in (1, 2):
        assert (await either.infer("iris")).status_code == 200
        assert agent.activations == [("iris", False)] * asked
        await asyncio.wait_for(unloads[-1], 5)
    assert either.server.misses["iris"] == 0


async def test_who_waited_together_goes_through_together(either: World) -> None:
    """Also where the model is taken back at once."""
    gate = asyncio.Event()

    async def load(model: str) -> None:
        await gate.wait()

    async def take_back(model: str) -> None:
        withdrawn.append(either.agent.withdraw(model))

    withdrawn: list[asyncio.Task[None]] = []
    either.agent.load, either.agent.replying = load, take_back
    waiting = [asyncio.create_task(either.infer("iris")) for _ in range(50)]
    await eventually(lambda: either.gateway._activator._waiting["iris"] == len(waiting))
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert either.agent.activations == [("iris", False)]
    assert len(withdrawn) == 1
    await asyncio.wait_for(withdrawn[0], 5)
    assert either.server.hits["iris"] == len(waiting)


async def test_what_clients_say_of_grants_is_dropped() -> None:
    async with running_world(MODELS, counts=True) as world:
        await world.make_hot("iris")
        assert (await world.infer("iris", x_overbook_grant="mine")).status_code == 200
        assert (world.server.hits["iris"], world.server.arrived["iris"]) == (1, 0)


async def test_a_server_that_counts_is_asked_instead_of_envoy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never_mind(place: object) -> None:
        raise AssertionError(f"{place}: nothing needs to be read for it")

    async with running_world(MODELS, counts=True) as world:
        await world.make_hot("iris")
        monkeypatch.setattr(world.gateway._drains, "wait_idle", never_mind)
        assert (await world.infer("iris")).status_code == 200
        await asyncio.wait_for(world.agent.withdraw("iris"), 5)


async def test_without_a_mark_withdrawn_waits_for_requests_in_flight(world: World) -> None:
    world.server.delay["iris"] = 0.5
    request = asyncio.create_task(world.infer("iris"))
    await eventually(lambda: world.server.running > 0)
    await asyncio.wait_for(asyncio.shield(world.agent.withdraw("iris")), 5)
    assert world.server.running == 0
    assert (await request).status_code == 200


async def test_a_hot_model_earns_its_mark(world: World) -> None:
    for _ in range(GRANTS - 1):
        assert (await world.infer("iris")).status_code == 200
        assert "/v2/models/iris/infer" not in world.gateway.feed
    for _ in range(2):
        assert (await world.infer("iris")).status_code == 200
    assert "/v2/models/iris/infer" in world.gateway.feed
    assert world.agent.activations == [("iris", False)], "the others found it hot"
    assert (await world.infer("wine")).status_code == 200
    await eventually(lambda: "/v2/models/wine/infer" in world.gateway.feed, 10)


async def test_withdrawn_waits_for_requests_in_flight(world: World) -> None:
    await world.make_hot("iris", "wine")
    world.server.delay["iris"] = 0.5
    request = asyncio.create_task(world.infer("iris"))
    await eventually(lambda: world.server.running > 0)
    withdrawn = world.agent.withdraw("iris")
    other = world.agent.withdraw("wine")
    await asyncio.wait_for(other, 0.4)
    assert not withdrawn.done()
    await asyncio.wait_for(withdrawn, 5)
    assert world.server.running == 0
    assert (await request).status_code == 200


async def test_rescue_cancels_a_withdrawal(world: World) -> None:
    await world.make_hot("iris")
    world.server.delay["iris"] = 0.3
    request = asyncio.create_task(world.infer("iris"))
    await eventually(lambda: world.server.running > 0)
    withdrawn = world.agent.withdraw("iris")
    await asyncio.sleep(0.05)
    await world.make_hot("iris")
    assert (await request).status_code == 200
    await asyncio.sleep(0.05)
    assert not withdrawn.done()
    assert (await world.infer("iris")).status_code == 200
    assert world.agent.activations == []


async def test_usage_is_reported(world: World) -> None:
    await world.make_hot("iris")
    for _ in range(7):
        await world.infer("iris")
    await world.grpc_infer("iris")
    await eventually(lambda: world.agent.usage["iris"] >= 8 and not world.agent.in_flight["iris"])
    assert world.agent.usage["iris"] == 8


async def test_hot_requests_go_on_without_the_agent_and_it_is_found_again() -> None:
    async with running_world({"iris": [0], "far": [1]}) as world:
        second = FakeAgent(world.server)
        target = agent_target(world.folder, 1)
        update = world.scheduler.first
        update.replicas.add(agent_target=target, runtime="fake").ref.server = "fake"
        update.replicas[-1].ref.replica = 1
        async with second.serving(target):
            world.scheduler.changes.put_nowait(update)
            await asyncio.wait_for(second.followed.wait(), 5)
            second.make_hot("far")
            await eventually(lambda: "far" in world.gateway.router.hot_models("fake/1"))
            await world.gateway.feed.wait_acked(world.gateway.feed.revision, 5)
        assert (await world.infer("far")).status_code == 200
        assert second.activations == []
        second.hot.clear()
        async with second.serving(target):
            await asyncio.wait_for(second.followed.wait(), 5)
            await eventually(lambda: not world.gateway.router.hot_models("fake/1"))
            assert (await world.infer("far")).status_code == 200
            assert second.activations[0] == ("far", False)


async def test_replicas_share_the_traffic_and_stand_in_for_each_other() -> None:
    async with running_world({"iris": [0, 1]}) as world:
        update = world.scheduler.first
        target = agent_target(world.folder, 1)
        update.replicas.add(agent_target=target, runtime="fake").ref.server = "fake"
        update.replicas[-1].ref.replica = 1
        other = FakeServer()
        second = FakeAgent(other)
        async with other.serving():
            async with second.serving(target):
                world.scheduler.changes.put_nowait(update)
                await asyncio.wait_for(second.followed.wait(), 5)
                await world.make_hot("iris")
                second.make_hot("iris")
                await eventually(lambda: "iris" in world.gateway.router.hot_models("fake/1"))
                await world.gateway.feed.wait_acked(world.gateway.feed.revision, 5)
                for _ in range(40):
                    assert (await world.infer("iris")).status_code == 200
                assert world.server.hits["iris"] > 5
                assert other.hits["iris"] > 5
                await asyncio.wait_for(world.agent.withdraw("iris"), 5)
                before = world.server.hits["iris"]
                for _ in range(10):
                    assert (await world.infer("iris")).status_code == 200
                assert world.server.hits["iris"] == before
            # The second agent and its model are gone: the first is asked instead.
            other.loaded.clear()
            assert (await world.infer("iris")).status_code == 200
            assert world.agent.activations[-1] == ("iris", True)


@contextlib.asynccontextmanager
async def second_replica(world: World) -> AsyncIterator[tuple[FakeAgent, FakeServer]]:
    """ "fake/1" with an inference server of its own."""
    update = world.scheduler.first
    target = agent_target(world.folder, 1)
    update.replicas.add(agent_target=target, runtime="fake").ref.server = "fake"
    update.replicas[-1].ref.replica = 1
    server = FakeServer()
    agent = FakeAgent(server)
    async with server.serving(), agent.serving(target):
        world.scheduler.changes.put_nowait(update)
        await asyncio.wait_for(agent.followed.wait(), 5)
        yield agent, server


async def never(model: str) -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_replica_that_hangs_is_not_waited_for_when_another_has_the_model() -> None:
    """The moment in which a server died and nobody has noticed yet."""
    models = [f"m{number}" for number in range(8)]
    async with (
        running_world({name: [0, 1] for name in models}) as world,
        second_replica(world) as (second, server),
    ):
        await world.make_hot(*models)
        second.make_hot(*models)
        await eventually(lambda: len(world.gateway.router.hot_models("fake/1")) == len(models))
        world.server.loaded.clear()
        world.agent.load = never
        async with asyncio.timeout(8):
            answers = await asyncio.gather(*(world.infer(name) for name in models * 5))
        assert {answer.status_code for answer in answers} == {200}
        assert world.agent.activations, "one of them was asked first"
        assert sum(server.hits.values()) == len(models) * 5


async def test_a_replica_whose_server_is_down_is_asked_last() -> None:
    models = [f"m{number}" for number in range(8)]
    async with (
        running_world({name: [0, 1] for name in models}) as world,
        second_replica(world),
    ):
        world.agent.load = never
        world.agent.say_address(down=True)
        await eventually(lambda: world.gateway.router.is_down("fake/0"))
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*(world.infer(name) for name in models))
        assert {answer.status_code for answer in answers} == {200}
        assert world.agent.activations == []
        world.agent.say_address()
        await eventually(lambda: not world.gateway.router.is_down("fake/0"))


async def test_who_waits_for_a_replica_whose_server_dies_goes_elsewhere() -> None:
    models = [f"m{number}" for number in range(8)]
    async with (
        running_world({name: [0, 1] for name in models}) as world,
        second_replica(world) as (_, server),
    ):
        world.agent.load = never
        waiting = [asyncio.create_task(world.infer(name)) for name in models]
        await eventually(lambda: sum(server.hits.values()) + world.agent.running == len(models))
        assert world.agent.running > 0
        world.agent.say_address(down=True)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*waiting)
        assert {answer.status_code for answer in answers} == {200}


async def test_overloaded_replica_is_not_the_end() -> None:
    async with running_world({"iris": [0]}) as world:
        world.agent.refuse["iris"] = ActivateReply(
            outcome=ActivateReply.OVERLOADED, reason="512 requests wait", retry_after_seconds=2.5
        )
        answer = await world.infer("iris")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
        assert "512 requests wait" in answer.json()["error"]


async def test_envoy_is_started_again_with_everything_it_knew(world: World) -> None:
    await world.make_hot("iris")
    pid = world.gateway.envoy.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: world.gateway.envoy.pid not in (pid, None), 10)
    await world.gateway.envoy.wait_live()
    answer = await world.infer("iris")
    assert answer.status_code == 200
    assert world.agent.activations == []
    assert world.gateway.envoy.restarts == 1


async def test_port_in_use_is_one_clear_error(world: World) -> None:
    config = GatewayConfig(
        state_dir=world.folder / "second",
        run_dir=world.folder / "second",
        scheduler_target="unix:/nowhere",
        host="127.0.0.1",
        port=world.port,
    )
    with pytest.raises(PortInUse, match=str(world.port)):
        GatewayPart(config)


async def test_envoy_goes_with_the_gateway() -> None:
    async with running_world(MODELS) as world:
        assert world.gateway.envoy.pid is not None
        process = psutil.Process(world.gateway.envoy.pid)
        assert process.is_running()
    assert not process.is_running()


async def test_clusters_of_cold_models_are_bounded() -> None:
    models = {f"m{number}": [0] for number in range(400)}
    async with running_world(models) as world:
        for start in range(0, 400, 40):
            names = [f"m{number}" for number in range(start, start + 40)]
            answers = await asyncio.gather(*(world.infer(name) for name in names))
            assert [a.text for a in answers if a.status_code != 200] == []
            await asyncio.gather(*(world.agent.withdraw(name) for name in names))
            world.server.loaded.clear()
        await eventually(lambda: world.gateway.feed.size <= 260, 10)
        assert (await world.infer("m0")).status_code == 200
