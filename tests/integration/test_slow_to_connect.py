"""A connection that stands late, as on a busy machine, is waited for: who calls hears nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest

from overbook.agent.servers.oip import OipClient
from overbook.agent.servers.protocol import Addresses
from overbook.gateway.oip.server import CHANNEL_OPTIONS as TO_ENVOY
from overbook.wire.channel import CHANNEL_OPTIONS as BETWEEN_PARTS

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
# Seconds; several times what a try got once.
LATE = 0.5


async def _empty(_request: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return b""


@asynccontextmanager
async def late_server() -> AsyncIterator[str]:
    """A server that answers all calls with an empty message, behind a relay that takes its time to connect."""
    server = grpc.aio.server()
    calls: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "RepositoryModelUnload": grpc.unary_unary_rpc_method_handler(_empty)
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", calls),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LATE)
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass(reader, outer), _pass(inner, writer), return_exceptions=True)
        for each in (outer, writer):
            with contextlib.suppress(OSError):
                await each.wait_closed()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as front:
        yield f"127.0.0.1:{front.sockets[0].getsockname()[1]}"
    await server.stop(None)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
    writer.close()


@pytest.mark.parametrize("options", [BETWEEN_PARTS, TO_ENVOY], ids=["parts", "relay"])
async def test_a_channel_of_the_parts(options: Sequence[tuple[str, int]]) -> None:
    async with (
        late_server() as target,
        grpc.aio.insecure_channel(target, options=options) as channel,
    ):
        call: Call = channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelUnload")
        assert await call(b"", timeout=5) == b""


async def test_an_agent_and_its_server() -> None:
    async with (
        late_server() as target,
        OipClient(Addresses(rest="127.0.0.1:1", grpc=target)) as client,
    ):
        assert await client.unload("iris", timeout=5)
