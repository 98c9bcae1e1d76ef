"""What the scheduler has the gateway's word for holds for the next request, over a real Envoy: models that are
registered, deleted, and registered again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest

from overbook.metrics import REFUSED
from overbook.wire import scheduler_pb2
from overbook.wire.agent_pb2 import ActivateReply
from overbook.wire.common_pb2 import ReplicaRef
from tests.integration.gateway_fakes import (
    FakeAgent,
    World,
    agent_target,
    eventually,
    running_world,
)


@pytest.fixture(params=[True, False], ids=["the server counts", "Envoy counts"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with running_world({"iris": [0], "wine": [0]}, counts=request.param) as running:
        yield running


def registered(*names: str) -> scheduler_pb2.CatalogueUpdate:
    refs = [ReplicaRef(server="fake", replica=0)]
    models = [scheduler_pb2.CatalogueModel(name=each, replicas=refs) for each in names]
    return scheduler_pb2.CatalogueUpdate(models=models)


def deleted(*names: str) -> scheduler_pb2.CatalogueUpdate:
    return scheduler_pb2.CatalogueUpdate(removed=names)


async def statuses(world: World, model: str, times: int = 12) -> Counter[str]:
    """What so many requests of each protocol end with, all sent at once."""

    async def rest() -> str:
        return str((await world.infer(model)).status_code)

    async def over_grpc() -> str:
        try:
            await world.grpc_infer(model)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return "OK"

    # A fake server that counts answers over REST only.
    protocols = [rest] if world.server.counts else [rest, over_grpc]
    asked = [asked() for _ in range(times) for asked in protocols]
    return Counter(await asyncio.gather(*asked))


def everyone(world: World, *wanted: str) -> Counter[str]:
    """All twelve over each protocol, REST first."""
    return Counter(dict.fromkeys(wanted[: 1 if world.server.counts else 2], 12))


async def test_the_first_requests_for_a_new_model_find_it(world: World) -> None:
    assert await statuses(world, "new") == everyone(world, "404", "NOT_FOUND")
    await world.scheduler.change(registered("new"), 2)
    assert await statuses(world, "new") == everyone(world, "200", "OK")


async def test_no_request_reaches_a_model_that_was_deleted(world: World) -> None:
    """Neither on its direct routes nor through a cluster that is still there."""
    await world.make_hot("iris", "wine")
    assert await statuses(world, "iris") == everyone(world, "200", "OK")
    await world.scheduler.change(deleted("iris"), 2)
    hits = world.server.hits["iris"]
    assert await statuses(world, "iris") == everyone(world, "404", "NOT_FOUND")
    assert world.server.hits["iris"] == hits
    assert await statuses(world, "wine") == everyone(world, "200", "OK")


async def test_a_deleted_model_that_its_agent_calls_hot_is_reached_by_nobody(world: World) -> None:
    """Its load ended after it was deleted, and its agent has not heard of that yet."""
    await world.scheduler.change(deleted("iris"), 2)
    world.agent.make_hot("iris")
    await eventually(lambda: world.gateway.router.is_hot("iris", "fake/0"))
    await world.make_hot("iris", "wine")
    assert await statuses(world, "iris") == everyone(world, "404", "NOT_FOUND")
    assert world.server.hits["iris"] == 0


async def test_a_model_that_is_registered_again_is_as_hot_as_it_was(world: World) -> None:
    await world.make_hot("iris")
    await world.scheduler.change(deleted("iris"), 2)
    await world.scheduler.change(registered("iris"), 3)
    assert await statuses(world, "iris") == everyone(world, "200", "OK")
    feed = world.gateway.feed
    await feed.wait_acked(feed.revision, 5)
    assert any(name in feed for name in world.gateway.router._marks["iris"])
    assert world.agent.activations == []


# Envoy's threads take in what its main thread has acknowledged a moment later: a long one where others have the cores.
@pytest.mark.alone
async def test_the_word_holds_under_traffic(world: World) -> None:
    """Deleted and registered again, time after time, while clients ask without a pause."""
    await world.make_hot("iris")
    world.server.delay["iris"] = 0.002
    gone, stop = False, False
    wrong: list[str] = []

    async def traffic() -> None:
        while not stop:
            expected = gone
            status = (await world.infer("iris")).status_code
            if expected == gone and status != (404 if gone else 200):
                wrong.append(f"{status} while gone is {gone}")

    clients = [asyncio.create_task(traffic()) for _ in range(4)]
    for revision in range(2, 42, 2):
        # From the order on, either answer is right until the word is there.
        await world.scheduler.change(deleted("iris"), revision)
        gone = True
        await asyncio.sleep(0.01)
        gone = False
        await world.scheduler.change(registered("iris"), revision + 1)
        changed = [each for each in wrong if "gone is True" in each]
        assert changed == []
        wrong.clear()
        await asyncio.sleep(0.01)
    assert wrong == []
    stop = True
    await asyncio.gather(*clients)


async def test_the_word_waits_for_envoy_and_the_catalogue_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_world({"iris": [0], "wine": [0]}) as world:
        await world.make_hot("iris")
        held = world.gateway.feed.wait_acked
        may_go = asyncio.Event()

        async def waiting(revision: int, timeout: float) -> None:
            if revision:
                await may_go.wait()
            await held(revision, timeout)

        # An Envoy that takes its time.
        monkeypatch.setattr(world.gateway.feed, "wait_acked", waiting)
        removed, added = deleted("iris"), registered("new")
        removed.revision, added.revision = 2, 3
        world.scheduler.changes.put_nowait(removed)
        world.scheduler.changes.put_nowait(added)
        await eventually(lambda: "new" in world.gateway.catalogue)
        assert world.scheduler.heard < 2
        may_go.set()
        await eventually(lambda: world.scheduler.heard == 3)


async def test_what_an_agent_refuses_for_good_is_answered_at_once_and_counted_once(
    world: World,
) -> None:
    refused = ActivateReply(outcome=ActivateReply.NO_ROOM, reason="pinned models hold 9 of 10 MB")
    world.agent.refuse["iris"] = refused
    count = REFUSED.labels("no_room")
    before, began = count._value.get(), asyncio.get_running_loop().time()
    answer = await world.infer("iris")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.grpc_infer("iris")
    took = asyncio.get_running_loop().time() - began
    text = "model iris: pinned models hold 9 of 10 MB"
    assert (answer.status_code, answer.json()) == (503, {"error": text})
    assert "retry-after" not in answer.headers, "only a person can change it"
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, text)
    assert world.agent.activations == [("iris", False)] * 2
    assert count._value.get() - before == 2
    assert took < 2.0


async def test_a_replica_that_refused_for_good_is_not_asked_again_while_another_comes_back() -> (
    None
):
    async with running_world({"iris": [0, 1]}) as world:
        target = agent_target(world.folder, 1)
        refused = ActivateReply(outcome=ActivateReply.NO_ROOM, reason="no room")
        world.agent.refuse["iris"] = refused
        replicas = [
            scheduler_pb2.CatalogueReplica(
                ref=ReplicaRef(server="fake", replica=1), agent_target=target, runtime="fake"
            )
        ]
        await world.scheduler.change(scheduler_pb2.CatalogueUpdate(replicas=replicas), 2)
        asked = asyncio.create_task(world.infer("iris"))
        await eventually(lambda: bool(world.agent.activations))
        await asyncio.sleep(0.3)
        async with FakeAgent(world.server).serving(target):
            assert (await asked).status_code == 200
        assert world.agent.activations == [("iris", False)]
