"""What a server answers, and which error that becomes. Against a real gRPC server and a stub of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from overbook.agent.servers.oip import OipClient, one_line
from overbook.agent.servers.protocol import (
    Addresses,
    ModelRejected,
    Presence,
    ServerUnreachable,
)
from overbook.wire import oip_pb2

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]


@asynccontextmanager
async def grpc_server(**methods: Handler) -> AsyncIterator[OipClient]:
    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with OipClient(Addresses(rest="127.0.0.1:1", grpc=f"127.0.0.1:{port}")) as client:
        yield client
    await server.stop(None)


@asynccontextmanager
async def http_server(reply: bytes) -> AsyncIterator[OipClient]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    at = f"127.0.0.1:{port}"
    async with OipClient(Addresses(rest=at, grpc="127.0.0.1:1", metrics=at)) as client:
        yield client
    server.close()
    await server.wait_closed()


def http(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def aborting(code: grpc.StatusCode, details: str = "") -> Handler:
    async def handler(_request: bytes, context: Context) -> bytes:
        await context.abort(code, details)
        return b""

    return handler


async def hanging(_request: bytes, _context: Context) -> bytes:
    await asyncio.get_running_loop().create_future()
    return b""


async def test_load_sends_the_name() -> None:
    seen: list[str] = []

    async def load(request: bytes, _context: Context) -> bytes:
        seen.append(oip_pb2.RepositoryModelLoadRequest.FromString(request).model_name)
        return b""

    async with grpc_server(RepositoryModelLoad=load) as client:
        await client.load("iris", timeout=5)
    assert seen == ["iris"]


@pytest.mark.parametrize(
    ("code", "details", "reason"),
    [
        (grpc.StatusCode.INTERNAL, "ValueError: bad\n  weights", "ValueError: bad weights"),
        (grpc.StatusCode.NOT_FOUND, "Model iris not found", "Model iris not found"),
        (grpc.StatusCode.INVALID_ARGUMENT, "", "INVALID_ARGUMENT, no reason given"),
    ],
)
async def test_a_refusal_keeps_the_servers_words(
    code: grpc.StatusCode, details: str, reason: str
) -> None:
    async with grpc_server(RepositoryModelLoad=aborting(code, details)) as client:
        with pytest.raises(ModelRejected) as raised:
            await client.load("iris", timeout=5)
    assert str(raised.value) == reason


async def test_no_answer_in_time() -> None:
    async with grpc_server(RepositoryModelLoad=hanging) as client:
        with pytest.raises(ServerUnreachable, match=r"iris: no answer within 0\.05 s"):
            await client.load("iris", timeout=0.05)


async def test_nobody_there() -> None:
    async with OipClient(Addresses(rest="127.0.0.1:1", grpc="127.0.0.1:1")) as client:
        with pytest.raises(ServerUnreachable, match="UNAVAILABLE"):
            await client.load("iris", timeout=5)
        with pytest.raises(ServerUnreachable):
            await client.index(timeout=5)
        with pytest.raises(ServerUnreachable, match="GET /v2/models/iris/ready"):
            await client.presence("iris", timeout=5)
        assert not await client.live_rest(timeout=5)
        assert not await client.live_grpc(timeout=5)


async def test_unload_of_an_unknown_name_is_known() -> None:
    async with grpc_server(RepositoryModelUnload=aborting(grpc.StatusCode.NOT_FOUND)) as client:
        assert await client.unload("iris", timeout=5) is False


async def test_index_reads_both_spellings_of_states() -> None:
    async def index(_request: bytes, _context: Context) -> bytes:
        states = {"a": "READY", "b": "State.READY", "c": "State.UNKNOWN", "d": "UNAVAILABLE"}
        entries = [
            oip_pb2.RepositoryIndexResponse.ModelIndex(name=name, state=state)
            for name, state in states.items()
        ]
        return oip_pb2.RepositoryIndexResponse(models=entries).SerializeToString()

    async with grpc_server(RepositoryIndex=index) as client:
        found = await client.index(timeout=5)
    assert found == {
        "a": Presence.READY,
        "b": Presence.READY,
        "c": Presence.LOADING,
        "d": Presence.ABSENT,
    }


@pytest.mark.parametrize(("falls", "answered"), [(2, True), (3, False)])
async def test_an_index_that_falls_over_a_folder_which_goes_is_asked_for_again(
    falls: int, answered: bool
) -> None:
    asked = 0

    async def index(_request: bytes, context: Context) -> bytes:
        nonlocal asked
        asked += 1
        if asked <= falls:
            await context.abort(grpc.StatusCode.INTERNAL, "failed to stat file models/odd")
        return oip_pb2.RepositoryIndexResponse().SerializeToString()

    async with grpc_server(RepositoryIndex=index) as client:
        if answered:
            assert await client.index(timeout=5) == {}
        else:
            with pytest.raises(ServerUnreachable, match="models/odd"):
                await client.index(timeout=5)


@pytest.mark.parametrize(
    ("status", "presence"),
    [
        ("200 OK", Presence.READY),
        ("400 Bad Request", Presence.LOADING),
        ("404 Not Found", Presence.ABSENT),
        ("500 Internal Server Error", Presence.LOADING),
    ],
)
async def test_only_404_means_absent(status: str, presence: Presence) -> None:
    async with http_server(http(status)) as client:
        assert await client.presence("iris", timeout=5) is presence


async def test_metadata() -> None:
    async with http_server(http("200 OK", '{"name": "iris"}')) as client:
        assert await client.metadata("iris", timeout=5) == {"name": "iris"}
    async with http_server(http("404 Not Found", '{"error": "gone"}')) as client:
        with pytest.raises(ModelRejected, match=r"metadata of iris: 404 .*gone"):
            await client.metadata("iris", timeout=5)
    async with http_server(http("200 OK", "[]")) as client:
        with pytest.raises(ModelRejected, match="expected an object"):
            await client.metadata("iris", timeout=5)


def test_one_line_is_one_and_short() -> None:
    assert one_line("a\n\tb  c") == "a b c"
    assert len(one_line("x" * 1000)) == 500


async def test_a_page_of_metrics_is_read_up_to_a_bound() -> None:
    page = "x 1\n" * 1000
    async with http_server(http("200 OK", page)) as client:
        assert await client.metrics(most=len(page), timeout=5) == (page.encode(), True)
        assert await client.metrics(most=len(page) - 1, timeout=5) == (page.encode()[:-1], False)


async def test_a_page_of_metrics_that_never_ends_is_cut_off() -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x 1\n" * 10_000)
                await writer.drain()
        except ConnectionError:
            gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    at = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with OipClient(Addresses(rest="127.0.0.1:1", grpc="127.0.0.1:1", metrics=at)) as client:
        text, whole = await client.metrics(most=100_000, timeout=5)
    assert (len(text), whole) == (100_000, False)
    async with asyncio.timeout(5):
        await gone.wait()
    server.close()


@pytest.mark.parametrize("reply", [http("500 Internal Server Error", "no"), b""])
async def test_no_page_of_metrics_is_a_server_that_does_not_answer(reply: bytes) -> None:
    async with http_server(reply) as client:
        with pytest.raises(ServerUnreachable, match="metrics of "):
            await client.metrics(most=10, timeout=5)
