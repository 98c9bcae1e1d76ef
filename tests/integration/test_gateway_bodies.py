"""64 MB both ways, over REST and gRPC, on the hot, the cold and the fallback path."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway_fakes import World, running_world

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


@pytest.mark.slow
@pytest.mark.parametrize("hot", [False, True])
async def test_larger_than_the_limit_is_refused(world: World, hot: bool) -> None:
    if hot:
        await world.make_hot("iris")
    async with world.rest.stream(
        "POST", "/v2/models/iris/infer", content=b"x", headers={"content-length": "99999999"}
    ) as answer:
        assert answer.status_code == 413
        assert b"at most" in await answer.aread()
    assert world.server.hits["iris"] == 0
