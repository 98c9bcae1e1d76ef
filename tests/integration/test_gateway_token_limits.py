"""What one token may take of a gateway, tried from outside with a real Envoy: and that others notice nothing of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import grpc
import grpc.aio
import httpx
import pytest

from overbook.access.tokens import digest
from overbook.wire import oip_pb2
from overbook.wire import scheduler_pb2 as pb
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, eventually, running_world

KEY = bytes(range(32))
MODELS = {name: [0] for name in ("iris", "cold", "other")}


def shown(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer ob_{token}"}


def token(name: str, *, rate: int | None = None, waiting: int | None = None) -> pb.AccessToken:
    """None: as much as it likes."""
    secret = digest(KEY, f"ob_{name}")
    return pb.AccessToken(name=name, role="infer", digest=secret, rate=rate, waiting=waiting)


async def ask(world: World, *tokens: pb.AccessToken) -> None:
    """From now on everybody has to show one of these."""
    update = pb.CatalogueUpdate(access=pb.Access(asked=True, key=KEY, tokens=tokens))
    await world.scheduler.change(update, world.scheduler.heard + 1)


async def rest(
    world: World,
    who: str,
    model: str = "iris",
    content: bytes = b"{}",
    headers: Mapping[str, str] = MappingProxyType({}),
) -> httpx.Response:
    path = f"/v2/models/{model}/infer"
    return await world.rest.post(path, content=content, headers=shown(who) | dict(headers))


async def refused_by_grpc(
    world: World, who: str, model: str = "iris"
) -> tuple[grpc.StatusCode, str] | None:
    try:
        await world.grpc_infer(model, metadata=shown(who))
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return None


@pytest.mark.parametrize("way", ["rest", "grpc", "own endpoints"])
async def test_no_more_requests_per_second_than_its_token_has(way: str) -> None:
    text = "authorization: 5 requests per second are what this token may make; send this one again later"
    async with running_world(MODELS) as world:
        await world.make_hot("iris")
        await ask(world, token("slow", rate=5), token("fast"))
        if way == "grpc":
            said = await asyncio.gather(*(refused_by_grpc(world, "slow") for _ in range(40)))
            errors = [each for each in said if each is not None]
            assert set(errors) == {(grpc.StatusCode.RESOURCE_EXHAUSTED, text)}
            assert await refused_by_grpc(world, "fast") is None
            refused = len(errors)
        else:
            path = "/v2/models/iris/infer" if way == "rest" else "/v2/models/iris"
            method = "POST" if way == "rest" else "GET"

            async def one(who: str) -> httpx.Response:
                return await world.rest.request(method, path, headers=shown(who))

            answers = await asyncio.gather(*(one("slow") for _ in range(40)))
            refused = sum(each.status_code == 429 for each in answers)
            for each in answers:
                assert each.status_code in (200, 429), each.text
                if each.status_code == 429:
                    assert each.json() == {"error": text}
                    assert each.headers["retry-after"] == "1"
            assert (await one("fast")).status_code == 200
        # A burst takes what there is for this second, and for the next one if it ends in that.
        assert 30 <= refused <= 35
        await asyncio.sleep(1.1)
        assert (await rest(world, "slow")).status_code == 200


async def test_the_storm_of_one_token_holds_nobody_up() -> None:
    async with running_world(MODELS) as world:
        await world.make_hot("iris")
        await ask(world, token("slow", rate=20), token("fast"), token("limited too", rate=500))

        async def times(who: str) -> list[float]:
            found = []
            for _ in range(200):
                began = time.perf_counter()
                assert (await rest(world, who)).status_code == 200
                found.append(time.perf_counter() - began)
            return sorted(found)

        stop = asyncio.Event()
        statuses: Counter[int] = Counter()

        async def storm() -> None:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{world.port}") as client:
                while not stop.is_set():
                    answer = await client.post(
                        "/v2/models/iris/infer", content=b"{}", headers=shown("slow")
                    )
                    statuses[answer.status_code] += 1

        storms = [asyncio.create_task(storm()) for _ in range(4)]
        began = time.monotonic()
        await times("fast")
        seconds = time.monotonic() - began
        stop.set()
        await asyncio.gather(*storms)
        assert set(statuses) == {200, 429}
        assert statuses[200] <= 20 * (seconds + 2)
        assert statuses[429] > statuses[200]


async def test_limits_come_and_go_with_their_tokens() -> None:
    async with running_world(MODELS) as world:
        await world.make_hot("iris")
        for rate, most in ((3, 6), (None, 0), (10, 20)):
            await ask(world, token("web", rate=rate))
            codes = Counter([(await rest(world, "web")).status_code for _ in range(60)])
            if rate is None:
                assert codes == {200: 60}
            else:
                assert rate <= codes[200] <= most
                assert codes[429] == 60 - codes[200]


@pytest.fixture
async def held() -> AsyncIterator[tuple[World, asyncio.Event]]:
    """A gateway whose models are loaded when the event is set, and not before."""
    async with running_world(MODELS) as world:
        goes_on = asyncio.Event()

        async def load(model: str) -> None:
            await goes_on.wait()

        world.agent.load = load
        await ask(world, token("storm", waiting=3), token("calm"), token("calm-too", waiting=3))
        yield world, goes_on
        goes_on.set()


async def compressed(world: World, who: str) -> httpx.Response:
    content = gzip.compress(b" " * 200_000)
    return await rest(world, who, "cold", content=content, headers={"content-encoding": "gzip"})


async def large(world: World, who: str) -> httpx.Response:
    return await rest(world, who, "cold", content=b" " * 400_000)


async def plain(world: World, who: str) -> httpx.Response:
    return await rest(world, who, "cold")


@pytest.mark.parametrize("way", [plain, large, compressed])
async def test_no_more_wait_than_its_token_may_have(
    held: tuple[World, asyncio.Event], way: Callable[[World, str], Awaitable[httpx.Response]]
) -> None:
    world, goes_on = held
    storm = [asyncio.ensure_future(way(world, "storm")) for _ in range(10)]
    await eventually(lambda: sum(each.done() for each in storm) == 7)
    for each in storm:
        if each.done():
            answer = each.result()
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"].startswith(
                "authorization: 3 requests with token 'storm' wait for their models already"
            )
    # A header that a client makes up stands for nobody.
    forged = {"x-overbook-token": "storm"}
    others = [
        asyncio.ensure_future(rest(world, who, "other", headers=forged))
        for who in ("calm", "calm", "calm", "calm", "calm-too", "calm-too", "calm-too")
    ]
    await asyncio.sleep(0.3)
    assert not any(each.done() for each in others)
    goes_on.set()
    waited = [each for each in storm if not each.done()]
    assert {each.status_code for each in await asyncio.gather(*waited, *others)} == {200}
    # Now it is hot, and nobody waits.
    again = await asyncio.gather(*(way(world, "storm") for _ in range(10)))
    assert {each.status_code for each in again} == {200}
    assert "x-overbook-token" not in world.server.heard
    assert "authorization" not in world.server.heard


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
async def test_calls_of_grpc_wait_no_more_either(
    held: tuple[World, asyncio.Event], compression: grpc.Compression | None
) -> None:
    world, goes_on = held
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = world.channel.unary_unary(
        f"/{SERVICE}/ModelInfer", request_serializer=bytes, response_deserializer=bytes
    )
    message = oip_pb2.ModelInferRequest(
        model_name="cold", raw_input_contents=[b" " * 2_000]
    ).SerializeToString()

    async def infer(who: str) -> str:
        try:
            await call(
                message, timeout=30, compression=compression, metadata=tuple(shown(who).items())
            )
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK"

    storm = [asyncio.create_task(infer("storm")) for _ in range(10)]
    await eventually(lambda: sum(each.done() for each in storm) == 7)
    for each in storm:
        if each.done():
            assert each.result().startswith(
                "RESOURCE_EXHAUSTED: authorization: 3 requests with token 'storm' wait"
            )
    calm = [asyncio.create_task(infer("calm")) for _ in range(5)]
    await asyncio.sleep(0.3)
    assert not any(each.done() for each in calm)
    goes_on.set()
    waited = [each for each in storm if not each.done()]
    assert set(await asyncio.gather(*waited, *calm)) == {"OK"}
    assert set(await asyncio.gather(*(infer("storm") for _ in range(10)))) == {"OK"}
    assert "x-overbook-token" not in world.server.heard


async def test_streams_wait_no_more_either(held: tuple[World, asyncio.Event]) -> None:
    world, goes_on = held
    open_ = world.channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer",
        request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=bytes,
    )

    async def stream(who: str) -> str:
        call = open_(metadata=tuple(shown(who).items()), timeout=30)
        await call.write(oip_pb2.ModelInferRequest(model_name="cold"))
        await call.done_writing()
        try:
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK"

    storm = [asyncio.create_task(stream("storm")) for _ in range(10)]
    await eventually(lambda: sum(each.done() for each in storm) == 7)
    assert all("RESOURCE_EXHAUSTED" in each.result() for each in storm if each.done())
    calm = [asyncio.create_task(stream("calm")) for _ in range(5)]
    await asyncio.sleep(0.3)
    goes_on.set()
    waited = [each for each in storm if not each.done()]
    assert set(await asyncio.gather(*waited, *calm)) == {"OK"}
    assert "x-overbook-token" not in world.server.heard


async def test_a_token_that_is_revoked_leaves_those_who_wait(
    held: tuple[World, asyncio.Event],
) -> None:
    world, goes_on = held
    waiting = [asyncio.create_task(plain(world, "storm")) for _ in range(3)]
    await eventually(lambda: world.agent.running > 0)
    await ask(world, token("calm"))
    assert (await plain(world, "storm")).status_code == 401
    goes_on.set()
    assert {each.status_code for each in await asyncio.gather(*waiting)} == {200}


async def test_what_was_used_is_told_to_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overbook.gateway.following._USES_SECONDS", 0.2)
    async with running_world(MODELS) as world:
        await world.make_hot("iris")
        await ask(world, *map(token, ("hot", "cold", "grpc", "metadata", "nobody")))
        began = time.time()
        assert (await rest(world, "hot")).status_code == 200
        assert (await rest(world, "cold", "cold")).status_code == 200
        assert await refused_by_grpc(world, "grpc") is None
        assert (
            await world.rest.get("/v2/models/iris", headers=shown("metadata"))
        ).status_code == 200
        await eventually(lambda: len(world.scheduler.used) == 4)
        assert set(world.scheduler.used) == {"hot", "cold", "grpc", "metadata"}
        assert all(began - 1 <= each <= time.time() for each in world.scheduler.used.values())


async def test_what_was_used_takes_no_memory_while_the_scheduler_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("overbook.gateway.following._USES_SECONDS", 0.1)
    monkeypatch.setattr("overbook.gateway.token_uses._MOST", 0)
    async with running_world(MODELS) as world:
        await world.make_hot("iris")
        await ask(world, token("early"), token("late"))
        world.scheduler.leave()
        # The stream has ended when nothing more is told.
        await asyncio.sleep(0.3)
        assert (await rest(world, "early")).status_code == 200
        await eventually(lambda: _noted_bytes() == 0)
        assert "early" not in world.scheduler.used
        world.scheduler.away = False
        await eventually(lambda: "early" in world.scheduler.used)


def _noted_bytes() -> int:
    """What the scripts' notes take, in the memory that gateway and Envoy share."""
    (notes,) = (
        each
        for each in Path("/proc/self/fd").iterdir()
        if os.path.lexists(each) and "overbook-token-uses" in str(each.readlink())
    )
    return notes.stat().st_size
