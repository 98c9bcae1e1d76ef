"""Thousands of requests wait for models at once: each has its answer, or is told that too many wait."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections import Counter
from typing import TypeAlias

import grpc
import pytest

from overbook.gateway.activator import ActivatorLimits
from overbook.machine import descriptors
from tests.integration.gateway_fakes import World, eventually, running_world

pytestmark = pytest.mark.alone
_MODELS = {"iris": [0], "wine": [0]}


@pytest.fixture(scope="module", autouse=True)
def raised() -> None:
    """As in `overbook up`: the gateway lets only so many wait as there may be connections."""
    descriptors.raise_limit()


@pytest.fixture
def many() -> int:
    """Requests for each model: as many as this process may have connections for, which has both ends of most."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(1500, allowed // 12)


_Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _ask(world: World, model: str) -> str:
    """Over a connection of its own: "200", or the status and what was said."""
    connection = await asyncio.open_connection("127.0.0.1", world.port)
    _send(connection, model)
    return await _said(connection)


def _send(connection: _Connection, model: str) -> None:
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    connection[1].write(f"{head}content-length: 2\r\n\r\n{{}}".encode())


async def _said(connection: _Connection) -> str:
    answer = (await connection[0].read()).decode()
    connection[1].close()
    head, _, body = answer.partition("\r\n\r\n")
    status = head.split(" ", 2)[1]
    return status if status == "200" else f"{status} {json.loads(body)['error']}"


async def _storm(world: World, each: int) -> Counter[str]:
    """So many for each model at the same time, while nothing is loaded until all wait or were refused."""
    gate = asyncio.Event()

    async def load(_: str) -> None:
        await gate.wait()

    world.agent.load = load
    waiting = world.gateway._activator._waiting
    asking = [asyncio.create_task(_ask(world, model)) for _ in range(each) for model in _MODELS]

    def all_heard() -> bool:
        return waiting.total() + sum(task.done() for task in asking) == len(asking)

    await eventually(all_heard, 60)
    gate.set()
    return Counter(await asyncio.gather(*asking))


async def test_all_wait_and_all_are_answered(many: int) -> None:
    async with asyncio.timeout(120), running_world(_MODELS) as world:
        assert await _storm(world, many) == {"200": 2 * many}
        assert world.agent.loads == {"iris": 1, "wine": 1}


@pytest.mark.parametrize("counts", [True, False], ids=["the server counts", "Envoy counts"])
async def test_all_who_waited_reach_their_model_though_it_leaves_at_once(
    many: int, counts: bool
) -> None:
    """Envoy takes its time with so many that are let through in one moment."""
    async with asyncio.timeout(120), running_world(_MODELS, counts=counts) as world:
        leaving: list[asyncio.Task[None]] = []

        async def take_back(model: str) -> None:
            leaving.append(world.agent.withdraw(model, unload=True))

        world.agent.replying = take_back
        assert await _storm(world, many) == {"200": 2 * many}
        assert world.server.hits == {"iris": many, "wine": many}
        assert not world.server.misses
        await asyncio.gather(*leaving)
        assert not world.server.loaded
        assert world.agent.loads == {"iris": 1, "wine": 1}


async def test_thousands_in_one_moment_are_answered_or_told_why_not() -> None:
    """More questions than one socket holds come while the gateway is busy with something else."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    many = min(4500, allowed // 3)
    async with asyncio.timeout(120), running_world(_MODELS) as world:
        connections: list[_Connection] = []
        while len(connections) < many:
            more = (asyncio.open_connection("127.0.0.1", world.port) for _ in range(100))
            connections += await asyncio.gather(*more)
        for connection in connections:
            _send(connection, "iris")
        time.sleep(1.0)  # noqa: ASYNC251  the loop that is busy is the gateway's as well
        said = Counter(await asyncio.gather(*map(_said, connections)))
        assert said.pop("200") >= min(4000, allowed // 4)
        assert set(said) <= {
            f"503 model iris: too many requests wait for {what}" for what in ("it", "models")
        }
        assert world.agent.loads == {"iris": 1}


@pytest.mark.parametrize("over_grpc", [False, True])
async def test_who_cannot_be_asked_about_is_told_so(over_grpc: bool) -> None:
    async with asyncio.timeout(60), running_world(_MODELS) as world:
        for socket in world.gateway._sockets.questions:
            socket.unlink()
        if over_grpc:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await world.grpc_infer("iris")
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "try again" in (caught.value.details() or "")
        else:
            answer = await world.infer("iris")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "try again" in answer.json()["error"]


async def test_who_is_too_many_is_told_so() -> None:
    limits = ActivatorLimits(waiting=300, waiting_per_model=200)
    async with asyncio.timeout(60), running_world(_MODELS, limits=limits) as world:
        said = await _storm(world, 250)
        assert said.pop("200") == 300
        assert said.total() == 200
        assert set(said) <= {
            f"503 model {name}: too many requests wait for {what}"
            for name in _MODELS
            for what in ("it", "models")
        }


def test_no_more_may_wait_than_there_can_be_connections() -> None:
    limits = ActivatorLimits(waiting=20_000)
    assert limits.within(1024).waiting == 256
    assert limits.within(1_000_000) == limits
    assert limits.within(resource.RLIM_INFINITY) == limits
