"""Where parts listen and call at all without certificates."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from overbook.wire import agent_pb2 as pb
from overbook.wire import agent_pb2_grpc
from overbook.wire.in_process import NotPrivate, check_private, connect, serving


def _nothing(_: Any) -> None:
    return


async def test_no_part_listens_where_others_could_pass_for_parts() -> None:
    with pytest.raises(NotPrivate, match=r"gRPC 0\.0\.0\.0:0: others than this machine's users"):
        async with serving("0.0.0.0:0", _nothing, grace=0.0, peers=None):
            pass
    async with serving("127.0.0.1:0", _nothing, grace=0.0, peers=None) as target:
        assert target.startswith("127.0.0.1:")


def test_the_option_is_named_and_what_to_do() -> None:
    with pytest.raises(NotPrivate) as refused:
        check_private("overbook.example:9005", None, option="--scheduler")
    text = str(refused.value)
    assert text.startswith(
        "--scheduler overbook.example:9005: others than this machine's users can reach it"
    )
    assert (
        "give this part a certificate (--peer-cert, --peer-key and --peer-ca: `overbook tls init` makes"
        in text
    )


async def test_nothing_is_said_in_plain_where_others_could_listen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not heard.done():
            heard.set_result(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    # Which leads here, and could be another machine's.
    target = f"0.0.0.0:{server.sockets[0].getsockname()[1]}"
    async with server, connect(target, None) as channel:
        stub: Any = agent_pb2_grpc.AgentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stub.Activate(pb.ActivateRequest(model="m"), timeout=10)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        # A handshake, and none that could end well.
        assert await heard == b"\x16"
    assert f"gRPC {target}: others than this machine's users can reach it" in caplog.text
