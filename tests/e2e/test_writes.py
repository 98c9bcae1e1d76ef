"""What was answered holds for the next request: `apply`, `delete`, `pin` and `evict` on a real `overbook up`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from overbook.wire import oip_pb2
from tests.e2e.process import Overbook, model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.zoo import TrainedModel, train

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_AT_ONCE = 12
_ANSWERED = {"200": _AT_ONCE, "OK": _AT_ONCE}


@pytest.fixture(scope="module")
def models(home: Path) -> list[TrainedModel]:
    return [train(home / "zoo", f"m{number}", megabytes=0.1, seed=number) for number in range(4)]


@pytest.fixture(scope="module")
def large(home: Path) -> list[TrainedModel]:
    names = ("first", "second")
    return [train(home / "zoo", name, megabytes=60, seed=0) for name in names]


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    with Overbook(home / "writes") as overbook:
        assert overbook.apply(server_manifest("100Mi", overcommitPercentage=500)).code == 0
        wait_until("its server is ready", lambda: _server_ready(overbook))
        yield overbook


def _server_ready(overbook: Overbook) -> bool:
    return [each["state"] for each in overbook.replicas()] == ["ready"]


@dataclass(frozen=True, slots=True)
class Clients:
    """Connected already, so that what they send arrives at once. ``api``: of the control API."""

    api: httpx.AsyncClient
    address: tuple[str, int]
    channel: grpc.aio.Channel

    async def apply(self, *documents: dict[str, Any]) -> list[str]:
        """As a program does, without waiting for anything but the answer: its warnings."""
        answer = await self.api.post("/api/v1/apply", json={"documents": documents})
        results = answer.raise_for_status().json()["results"]
        assert [each["error"] for each in results] == [None] * len(documents)
        return list(answer.json().get("warnings", ()))

    async def aim(
        self, model: TrainedModel, name: str = ""
    ) -> Callable[[], Awaitable[Counter[str]]]:
        """Makes a dozen requests over each protocol ready to go. The answer sends them all at once, and says how they
        ended.
        """
        name = name or model.name
        rows, features = model.inputs.shape
        data = [float(each) for each in model.inputs.ravel()]
        tensor = {"name": "x", "shape": [rows, features], "datatype": "FP64", "data": data}
        body = json.dumps({"inputs": [tensor]})
        head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()
        connections = [await asyncio.open_connection(*self.address) for _ in range(_AT_ONCE)]
        message = oip_pb2.ModelInferRequest(
            model_name=name,
            inputs=[
                oip_pb2.ModelInferRequest.InferInputTensor(
                    name="x",
                    shape=[rows, features],
                    datatype="FP64",
                    contents=oip_pb2.InferTensorContents(fp64_contents=data),
                )
            ],
        )
        call = self.channel.unary_unary(
            _METHOD,
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )

        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
            answer = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            return answer.split(b" ", 2)[1].decode()

        async def over_grpc() -> str:
            try:
                await call(message, timeout=60)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return "OK"

        async def fire() -> Counter[str]:
            for _, writer in connections:
                writer.write(request)
            calls = [over_grpc() for _ in connections]
            return Counter(await asyncio.gather(*(answered(*each) for each in connections), *calls))

        return fire


@contextlib.asynccontextmanager
async def clients(overbook: Overbook) -> AsyncIterator[Clients]:
    async with (
        httpx.AsyncClient(base_url=overbook.api.base_url, timeout=60) as api,
        grpc.aio.insecure_channel(f"127.0.0.1:{overbook.port}") as channel,
    ):
        await api.get("/healthz")
        await channel.channel_ready()
        yield Clients(api, ("127.0.0.1", overbook.port), channel)


def ask(overbook: Overbook, model: TrainedModel, name: str = "") -> Counter[str]:
    async def asked() -> Counter[str]:
        async with clients(overbook) as those:
            return await (await those.aim(model, name))()

    return asyncio.run(asked())


def apply(overbook: Overbook, *documents: dict[str, Any]) -> None:
    answer = overbook.api.post("/api/v1/apply", json={"documents": documents}).raise_for_status()
    assert [each["error"] for each in answer.json()["results"]] == [None] * len(documents)


async def test_the_first_requests_after_apply_are_answered(
    running: Overbook, models: list[TrainedModel]
) -> None:
    """Sent all at once when `apply` has answered, without --wait."""
    async with clients(running) as those:
        for model in models:
            fire = await those.aim(model)
            warnings = await those.apply(model_manifest(model.name, model.folder, memory="1M"))
            assert await fire() == _ANSWERED
            assert warnings == []


async def test_nothing_is_answered_by_a_model_after_its_delete(
    running: Overbook, models: list[TrainedModel]
) -> None:
    """A hot one, whose requests go straight to the server; and it answers again once it is applied again."""
    model = models[0]
    async with clients(running) as those:
        for _ in range(3):
            await those.apply(model_manifest("brief", model.folder, memory="1M"))
            for _ in range(2):
                assert await (await those.aim(model, "brief"))() == _ANSWERED
            fire = await those.aim(model, "brief")
            done = await those.api.delete("/api/v1/models/brief")
            assert await fire() == {"404": _AT_ONCE, "NOT_FOUND": _AT_ONCE}
            assert done.json()["warnings"] == []


def test_evict_has_ended_when_it_answers(running: Overbook, models: list[TrainedModel]) -> None:
    model = models[0]
    apply(running, model_manifest(model.name, model.folder, memory="1M"))
    loads = 0
    for _ in range(3):
        assert ask(running, model) == _ANSWERED
        wait_until("it is reported", lambda: running.states()[model.name] == "resident")
        before, loads = loads, running.model(model.name)["status"]["replicas"][0]["loads"]
        assert loads > before
        assert running.run("evict", model.name).code == 0


def test_pins_say_whom_they_leave_without_room(
    running: Overbook, large: list[TrainedModel]
) -> None:
    first, second = large
    apply(running, *(model_manifest(each.name, each.folder) for each in large))
    for model in reversed(large):
        assert ask(running, model) == _ANSWERED
    done = running.run("pin", first.name)
    assert done.code == 0
    assert f"which leaves no room for {second.name} (" in done.err
    began = time.monotonic()
    assert ask(running, second) == {"503": _AT_ONCE, "UNAVAILABLE": _AT_ONCE}
    assert time.monotonic() - began < 5.0, "it was waited for"
    answer = running.data.post(f"/v2/models/{second.name}/infer", json={"inputs": []})
    assert "pinned models hold" in oip_error(answer)
    assert "retry-after" not in answer.headers

    def told() -> bool:
        condition = running.model(second.name)["status"]["conditions"][0]
        return condition["status"] == "False" and "pinned models hold" in condition["message"]

    wait_until("its status says so", told)
    evicted = running.run("evict", first.name)
    assert evicted.code == 1
    assert "is pinned" in evicted.err
    assert f"overbook unpin {first.name}" in evicted.err
    assert running.run("unpin", first.name).code == 0
    assert ask(running, second) == _ANSWERED
    for model in large:
        assert running.run("delete", "model", model.name).code == 0


def test_deleting_a_server_says_how_many_lose_their_place(
    running: Overbook, models: list[TrainedModel]
) -> None:
    names = ["left-1", "left-2"]
    apply(
        running,
        server_manifest("50Mi", name="brief"),
        *(model_manifest(each, models[1].folder, memory="1M", server="brief") for each in names),
    )
    wait_until("they serve", lambda: ask(running, models[1], names[0])["200"] == _AT_ONCE)
    done = running.run("delete", "server", "brief")
    assert done.code == 0
    assert "2 models lose their place on brief; 2 of them find no other" in done.err
    assert "left-1, left-2" in done.err
    wait_until("its agent is gone", lambda: len(running.replicas()) == 1)
    time.sleep(1)
    assert "RuntimeError" not in running.log()
    logged = running.folder / "state" / "overbook.log"
    assert not logged.exists() or "operations are not running" not in logged.read_text()
