"""Calls of gRPC with messages that may or may not name a model, through the real Envoy: it says what the gateway says
of them, and sends on what names a model as it came, to a server that finds the same name in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf.message import DecodeError

from overbook.gateway.oip.errors import NoAnswer
from overbook.gateway.oip.methods import status_of
from overbook.gateway.oip.model_name import asked_model
from overbook.gateway.oip.ports import ServerAddress
from overbook.wire.oip_pb2 import ModelInferRequest
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import World, running_world
from tests.unit.gateway.oip.hostile import NAMED, REFUSED, mutated

_MODELS = {"iris": [0], "wine": [0]}
_MUTATED = 1200


@dataclass(slots=True)
class Recorder:
    """An inference server that keeps the bytes of each message, and answers the same."""

    arrived: list[bytes] = field(default_factory=list)
    port: int = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Recorder]:
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._infer, request_deserializer=bytes, response_serializer=bytes
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler})
        server.add_generic_rpc_handlers((handlers,))
        self.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)

    async def _infer(
        self, message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        self.arrived.append(message)
        return message


def _expected(message: bytes) -> bytes | tuple[int, str]:
    """What the gateway says of it: that it goes on as it is, or why not."""
    try:
        name = asked_model(message, None)
    except NoAnswer as refusal:
        return status_of(refusal).value[0], str(refusal)
    if name not in _MODELS:
        return grpc.StatusCode.NOT_FOUND.value[0], f"model {name}: not found"
    return message


async def _said(world: World, message: bytes) -> bytes | tuple[int, str]:
    try:
        return await world.raw_call(message)
    except grpc.aio.AioRpcError as error:
        return error.code().value[0], error.details() or ""


@pytest.mark.slow
@pytest.mark.parametrize("hot", [True, False], ids=["hot", "cold"])
async def test_envoy_and_the_gateway_find_the_same_name(hot: bool) -> None:
    async with Recorder().serving() as server, running_world(_MODELS) as world:
        world.agent.elsewhere = ServerAddress(
            f"127.0.0.1:{world.server.rest_port}", f"127.0.0.1:{server.port}"
        )
        world.agent.epoch += 1
        world.agent.say_address()
        if hot:
            await world.make_hot(*_MODELS)
        written = [*NAMED.values(), *(message for message, _ in REFUSED.values())]
        count = _MUTATED if hot else _MUTATED // 10
        expected: list[bytes] = []
        for message in (*written, *map(mutated, range(count))):
            found = _expected(message)
            assert await _said(world, message) == found, message.hex()
            if isinstance(found, bytes):
                expected.append(found)
                with contextlib.suppress(DecodeError):
                    name = ModelInferRequest.FromString(message).model_name
                    assert name == asked_model(message, None)
        assert server.arrived == expected
        assert len(expected) > count // 10
        assert world.gateway.envoy.restarts == 0
