"""64 MB both ways, over REST and gRPC, on the hot, the cold and the fallback path."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from overbook.wire import oip_pb2
from overbook.wire.limits import MAX_BODY, MAX_MESSAGE
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, answer_to_a_too_large_body, running_world
from tests.unit.wire.writing import block

SIZE = 64 * 1024 * 1024


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world({"iris": [0]}) as running:
        yield running


async def arrange(world: World, path: str) -> None:
    if path != "cold":
        await world.make_hot("iris")
    if path == "fallback":
        world.server.loaded.clear()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["cold", "hot", "fallback"])
async def test_rest(world: World, path: str) -> None:
    await arrange(world, path)
    answer = await world.rest.post(
        "/v2/models/iris/infer", content=b"x" * SIZE, headers={"x-answer-bytes": str(SIZE)}
    )
    assert answer.status_code == 200
    assert len(answer.content) == SIZE
    assert len(world.agent.activations) == (path != "hot")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["cold", "hot", "fallback"])
async def test_grpc(world: World, path: str) -> None:
    await arrange(world, path)
    answer = await world.grpc_infer("iris", b"x" * SIZE)
    assert len(answer.raw_output_contents[0]) == SIZE
    assert len(world.agent.activations) == (path != "hot")


@pytest.mark.parametrize("hot", [False, True])
async def test_larger_than_the_limit_is_refused(world: World, hot: bool) -> None:
    if hot:
        await world.make_hot("iris")
    head = await answer_to_a_too_large_body(world.port, "iris")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":"request body: 99999999 bytes, at most 83886080 are accepted"}' in head
    assert world.agent.activations == []


def message_of(size: int) -> bytes:
    """A request for iris of so many bytes in all."""
    name = block(1, "iris")
    head = len(block(7, b"x" * size)) - size
    made = name + block(7, b"x" * (size - len(name) - head))
    assert len(made) == size
    return made


@pytest.mark.slow
@pytest.mark.parametrize("path", ["cold", "hot", "fallback"])
async def test_the_largest_message_alone(world: World, path: str) -> None:
    await arrange(world, path)
    answer = oip_pb2.ModelInferResponse.FromString(
        await world.raw_call(message_of(MAX_MESSAGE), seconds=30)
    )
    assert answer.model_name == "iris"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(message_of(MAX_MESSAGE + 1), seconds=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == f"message: too large, at most {MAX_BODY} bytes are accepted"
    assert (await world.grpc_infer("iris")).model_name == "iris"


@pytest.mark.slow
async def test_the_largest_message_that_is_compressed(world: World) -> None:
    """What it is inflated counts, or else it could not go on from the gateway."""
    gzip = grpc.Compression.Gzip
    answer = oip_pb2.ModelInferResponse.FromString(
        await world.raw_call(message_of(MAX_MESSAGE), seconds=30, compression=gzip)
    )
    assert answer.model_name == "iris"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.raw_call(message_of(MAX_MESSAGE + 1), seconds=30, compression=gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await world.grpc_infer("iris")).model_name == "iris"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["cold", "hot", "fallback"])
async def test_the_largest_message_in_a_stream(world: World, path: str) -> None:
    await arrange(world, path)
    open_stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = world.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer"
    )
    call = open_stream(timeout=30)
    await call.write(message_of(MAX_MESSAGE))
    answer = await call.read()
    assert isinstance(answer, bytes)
    assert oip_pb2.ModelInferResponse.FromString(answer).model_name == "iris"
    await call.write(message_of(MAX_MESSAGE + 1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    # gRPC's own words: the relay does not see such a message.
    assert f"max ({MAX_MESSAGE + 1} vs. {MAX_MESSAGE})" in (caught.value.details() or "")
