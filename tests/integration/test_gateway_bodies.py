"""64 MB both ways, over REST and gRPC, on the hot, the cold and the fallback path."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from tests.integration.gateway_fakes import World, answer_to_a_too_large_body, running_world

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


@pytest.mark.slow
async def test_larger_grpc_message_is_refused(world: World) -> None:
    await world.make_hot("iris")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.grpc_infer("iris", b"x" * (81 * 1024 * 1024))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "at most" in (caught.value.details() or "")
    assert (await world.grpc_infer("iris")).model_name == "iris"
