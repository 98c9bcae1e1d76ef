"""Each request has an id: its client's or a new one. The answer bears it, and so does the log when it failed."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from overbook.gateway import request_log
from overbook.gateway.request_log import RequestLog
from overbook.wire import oip_pb2
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, eventually, running_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world({"iris": [0], "nowhere": []}) as running:
        yield running


def _log(world: World) -> Path:
    found: Path = next(world.folder.rglob(request_log.NAME))
    return found


def _lines(world: World, earlier: str = "") -> list[dict[str, Any]]:
    log = Path(f"{_log(world)}{earlier}")
    return [json.loads(line) for line in log.read_text().splitlines()]


async def _ask_over_grpc(world: World, model: str, *metadata: tuple[str, str]) -> dict[str, str]:
    """The metadata of the answer, or of the refusal."""
    call = world.channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=oip_pb2.ModelInferResponse.FromString,
    )(oip_pb2.ModelInferRequest(model_name=model), metadata=metadata, timeout=10)
    found = {str(key): str(value) for key, value in await call.initial_metadata()}
    await call.code()
    return found


async def test_an_id_is_made_or_passed_and_returned(world: World) -> None:
    for _ in range(2):
        made = await world.infer("iris")
        assert uuid.UUID(made.headers["x-request-id"])
        passed = await world.infer("iris", x_request_id="mine, of any form")
        assert passed.headers["x-request-id"] == "mine, of any form"
        of_call = await _ask_over_grpc(world, "iris", ("x-request-id", "call-1"))
        assert of_call["x-request-id"] == "call-1"
        assert uuid.UUID((await _ask_over_grpc(world, "iris"))["x-request-id"])
        other = await world.rest.get("/v2/health/live", headers={"x-request-id": "probe"})
        assert other.headers["x-request-id"] == "probe"
        await world.make_hot("iris")
    assert _lines(world) == [], "what is answered is not logged"


async def test_what_failed_is_logged_with_its_id(world: World) -> None:
    await world.infer("nope", x_request_id="r-1")
    await world.infer("nowhere", x_request_id="r-2")
    await _ask_over_grpc(world, "nowhere", ("x-request-id", "r-3"))
    world.server.own_answers["iris"] = 500, grpc.StatusCode.INTERNAL
    await world.infer("iris", x_request_id="r-4")
    await _ask_over_grpc(world, "iris", ("x-request-id", "r-5"))
    await eventually(lambda: len(_lines(world)) == 5, seconds=30)
    found = {each["id"]: each for each in _lines(world)}
    assert [found[f"r-{n}"]["status"] for n in (1, 2, 4)] == [404, 503, 500]
    assert found["r-1"]["path"] == "/v2/models/nope/infer"
    assert [(found[each]["model"], found[each]["grpc"]) for each in ("r-3", "r-5")] == [
        ("nowhere", "Unavailable"),
        ("iris", "Internal"),
    ]


async def test_a_large_log_is_begun_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "_MOST_BYTES", 10)
    log = RequestLog(_log(world), world.gateway.admin)
    await world.infer("nope", x_request_id="before")
    await eventually(lambda: len(_lines(world)) == 1, seconds=30)
    await log.look()
    await world.infer("nope", x_request_id="after")
    await eventually(
        lambda: _log(world).exists() and [each["id"] for each in _lines(world)] == ["after"],
        seconds=30,
    )
    assert [each["id"] for each in _lines(world, ".1")] == ["before"]
