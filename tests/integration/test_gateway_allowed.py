"""What a Server allows, over a real Envoy: it holds from the moment at which the catalogue says so, and for processes
that take another's place; load and unload reach the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest

from overbook.wire import oip_pb2, scheduler_pb2
from overbook.wire.agent_pb2 import ActivateReply
from overbook.wire.common_pb2 import ReplicaRef
from tests.integration.fake_inference_server import SERVICE
from tests.integration.fake_triton import FakeTriton
from tests.integration.gateway_fakes import World, agent_target, eventually, running_world

STATUS = "/v2/systemsharedmemory/status"
REGION = "/v2/systemsharedmemory/region/a"
BODY = {"key": "/k", "offset": 0, "byte_size": 64}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world({"iris": [0], "wine": [0]}) as running:
        yield running


async def allow(world: World, revision: int, *words: str) -> None:
    """The manifest of the Server says so now."""
    replica = scheduler_pb2.CatalogueReplica(
        ref=ReplicaRef(server="fake", replica=0),
        agent_target=agent_target(world.folder, 0),
        runtime="triton",
        allow=words,
    )
    await world.scheduler.change(scheduler_pb2.CatalogueUpdate(replicas=[replica]), revision)


async def register(world: World) -> int:
    return (await world.rest.post(f"{REGION}/register", json=BODY)).status_code


async def replaced_by(world: World, triton: FakeTriton) -> None:
    """The agent says that a new process serves."""
    world.agent.say_address(down=True)
    world.agent.epoch += 1
    world.agent.elsewhere = triton.address
    world.agent.say_address()
    expected = triton.address.rest

    def moved() -> bool:
        found = world.gateway.router.address("fake/0")
        return found is not None and found.rest == expected

    await eventually(moved)


async def test_leave_may_be_given_and_withdrawn_while_everything_runs(world: World) -> None:
    async with FakeTriton().serving() as triton:
        await replaced_by(world, triton)
        assert await register(world) == 403
        await allow(world, 2, "sharedMemory")
        extensions = (await world.rest.get("/v2")).json()["extensions"]
        assert "system_shared_memory" in extensions
        assert await register(world) == 200
        assert [each["name"] for each in (await world.rest.get(STATUS)).json()] == ["a"]
        await allow(world, 3)
        assert await register(world) == 403
        assert (await world.rest.get(STATUS)).json() == []
        await eventually(lambda: not triton.regions["system"])
        # It is not brought back by the next leave.
        await allow(world, 4, "sharedMemory", "log")
        assert (await world.rest.get(STATUS)).json() == []


async def test_a_new_process_knows_the_regions_before_it_is_asked(world: World) -> None:
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(FakeTriton().serving()) for _ in range(2)]
        await replaced_by(world, first)
        await allow(world, 2, "sharedMemory", "log")
        assert await register(world) == 200
        changed = await world.rest.post("/v2/logging", json={"log_verbose_level": 2})
        assert changed.json()["log_verbose_level"] == 2
        # Registered directly, and so not the gateway's to remember.
        first.regions["system"]["theirs"] = {"name": "theirs", **BODY}
        await replaced_by(world, second)
        assert [*second.regions["system"]] == ["a"]
        assert second.settings["log"]["log_verbose_level"] == 2
        world.agent.say_address(down=True)
        await eventually(lambda: world.gateway.router.is_down("fake/0"))
        assert await register(world) == 503


async def test_a_server_that_cannot_be_told_serves_all_the_same(world: World) -> None:
    async with FakeTriton().serving() as triton:
        await replaced_by(world, triton)
        await allow(world, 2, "sharedMemory")
        assert await register(world) == 200
    # The fake inference server has no such calls.
    world.agent.elsewhere, world.agent.epoch = None, 9
    world.agent.say_address()
    assert (await world.infer("iris")).status_code == 200


async def test_load_and_unload_do_what_the_command_line_does(world: World) -> None:
    path = "/v2/repository/models/iris"
    assert (await world.rest.post(f"{path}/load")).status_code == 403
    await allow(world, 2, "repository")
    assert (await world.rest.post(f"{path}/load")).status_code == 200
    assert (world.agent.again, world.agent.loads["iris"]) == (["iris"], 1)
    assert (await world.rest.post(f"{path}/unload", json={})).status_code == 200
    assert world.server.loaded == set()
    index = (await world.rest.post("/v2/repository/index")).json()
    assert {each["name"]: each["state"] for each in index} == {"iris": "READY", "wine": "READY"}
    assert (await world.infer("iris")).status_code == 200
    assert world.agent.loads["iris"] == 2
    world.agent.pinned.add("iris")
    kept = await world.rest.post(f"{path}/unload")
    assert (kept.status_code, kept.json()) == (403, {"error": "it is pinned"})
    failed = ActivateReply(outcome=ActivateReply.LOAD_FAILED, reason="bad pickle")
    world.agent.refuse["wine"] = failed
    answer = await world.rest.post("/v2/repository/models/wine/load")
    assert (answer.status_code, answer.json()) == (503, {"error": "model 'wine': bad pickle"})


async def test_load_and_unload_over_both_services(world: World) -> None:
    await allow(world, 2, "repository")
    message = oip_pb2.RepositoryModelLoadRequest(model_name="wine").SerializeToString()
    for service in (SERVICE, "inference.model_repository.ModelRepositoryService"):
        assert await world.raw_call(message, method=f"/{service}/RepositoryModelLoad") == b""
        assert "wine" in world.server.loaded
        assert await world.raw_call(message, method=f"/{service}/RepositoryModelUnload") == b""
        assert "wine" not in world.server.loaded
    unknown = oip_pb2.RepositoryModelLoadRequest(model_name="nobody").SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(unknown, method=f"/{SERVICE}/RepositoryModelLoad")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_client_that_gives_up_a_load_withdraws_the_wish(world: World) -> None:
    await allow(world, 2, "repository")
    never = asyncio.Event()
    world.agent.load = lambda _: _wait(never)
    message = oip_pb2.RepositoryModelLoadRequest(model_name="wine").SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(message, method=f"/{SERVICE}/RepositoryModelLoad", seconds=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: world.agent.cancelled == 1)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def test_a_models_trace_settings_hold_it_in_memory_while_they_are_asked(world: World) -> None:
    async with FakeTriton().serving() as triton:
        triton.models["iris"] = {"trace_rate": "1"}
        await replaced_by(world, triton)
        await allow(world, 2, "trace")
        answer = await world.rest.post("/v2/models/iris/trace/setting", json={"trace_rate": "3"})
        assert answer.json() == {"trace_rate": "3"}
        assert world.agent.activations == [("iris", False)]
        follower = world.agent.follower
        assert follower is not None
        await eventually(lambda: not follower.granted["iris"])
