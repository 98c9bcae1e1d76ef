"""Names as clients of OIP and Triton write them, through a real Envoy: hot, cold, counted and withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import quote

import grpc
import pytest

from overbook.manifests.names import MAX_NAME
from overbook.wire import oip_pb2
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, eventually, running_world

NAMES = (
    "densenet_onnx",
    "MyModel",
    "mymodel",
    "a.b-c_D.9",
    "a",
    "9",
    "_private",
    "trailing.-_.",
    "infer",
    "versions",
    "M" * MAX_NAME,
)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world({name: [0] for name in NAMES}) as running:
        yield running


async def _stream(world: World, model: str) -> str:
    open_stream: grpc.aio.StreamStreamMultiCallable[
        oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
    ] = world.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer",
        request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=oip_pb2.ModelInferResponse.FromString,
    )
    call = open_stream(timeout=10)
    await call.write(oip_pb2.ModelInferRequest(model_name=model))
    answer = await call.read()
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK
    assert isinstance(answer, oip_pb2.ModelInferResponse)
    return str(answer.model_name)


async def _ask_on_every_way(world: World, name: str) -> None:
    encoded = "".join(f"%{ord(letter):02x}" for letter in name[:20]) + name[20:]
    for path in (name, quote(name), encoded):
        answer = await world.infer(path)
        assert (answer.status_code, answer.json()) == (200, {"model_name": name, "bytes": 2})
    versioned = await world.rest.post(f"/v2/models/{encoded}/versions/v1/infer?x=%20", content=b"")
    assert versioned.json() == {"model_name": name}
    assert (await world.infer(name, seldon_model=name)).status_code == 200
    assert (await world.grpc_infer(name)).model_name == name
    assert (await world.grpc_infer(name, metadata={"seldon-model": name})).model_name == name
    assert await _stream(world, name) == name
    assert (await world.rest.get(f"/v2/models/{encoded}")).json()["name"] == name
    assert (await world.rest.get(f"/v2/models/{name}/ready")).status_code == 200


async def test_every_name_is_asked_cold_hot_and_again(world: World) -> None:
    for name in NAMES:
        await _ask_on_every_way(world, name)
    assert {name for name, _ in world.agent.activations} == set(NAMES)
    await world.make_hot(*NAMES)
    activated = len(world.agent.activations)
    for name in NAMES:
        assert (await world.infer(name)).json()["model_name"] == name
        assert (await world.grpc_infer(name)).model_name == name
        assert await _stream(world, name) == name
    assert len(world.agent.activations) == activated, "what is hot goes straight"
    for name in NAMES:
        await _ask_on_every_way(world, name)
        await asyncio.wait_for(world.agent.withdraw(name, unload=True), 5)
    for name in NAMES:
        await _ask_on_every_way(world, name)
    assert not world.server.misses


def _was_counted(world: World, name: str, times: int) -> bool:
    return world.agent.usage[name] >= times


async def test_every_name_is_counted(world: World) -> None:
    await world.make_hot(*NAMES)
    for count, name in enumerate(NAMES, 1):
        for _ in range(count):
            assert (await world.infer(name)).status_code == 200
        assert (await world.grpc_infer(name)).model_name == name
    for count, name in enumerate(NAMES, 1):
        await eventually(partial(_was_counted, world, name, count + 1))
        assert world.agent.usage[name] == count + 1


@pytest.mark.parametrize("counts", [True, False])
async def test_withdrawing_waits_for_what_is_in_flight(world: World, counts: bool) -> None:
    world.server.counts = counts
    world.agent.say_address()
    await world.make_hot(*NAMES)
    for name in ("a.b-c_D.9", "MyModel", "M" * MAX_NAME):
        world.server.delay[name] = 0.3
        asked = asyncio.create_task(world.infer(name))
        await eventually(lambda: world.server.running == 1)
        withdrawn = world.agent.withdraw(name, unload=True)
        await asyncio.sleep(0.05)
        assert not withdrawn.done()
        await asyncio.wait_for(withdrawn, 5)
        assert (await asyncio.wait_for(asked, 5)).status_code == 200
    assert not world.server.misses


@pytest.mark.parametrize(
    "name", ["..%2Fx", "a%2fb", "IRIS", "M" * (MAX_NAME + 1), "-a", ".a", "a~b", "a%20b", "%C3%A4"]
)
async def test_impossible_and_other_names_are_not_found(world: World, name: str) -> None:
    answer = await world.infer(name)
    assert answer.status_code == 404
    assert answer.json()["error"]
    assert world.agent.activations == []
    with contextlib.suppress(UnicodeError), pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.grpc_infer(name)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
