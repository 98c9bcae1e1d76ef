"""The demo's clients against a scripted server: every way an answer can come, or fail to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import grpc
import pytest

from overbook.demo.cases import Tensor, WrongAnswer, make_case
from overbook.demo.connections import GrpcConnection, RequestFailed, RestConnection
from overbook.demo.system import HOST
from overbook.wire import oip_pb2 as pb

CASE = make_case("acorn", [[1.0, 2.0]], [1], host=HOST, tensor=Tensor())
RIGHT = json.dumps({"outputs": [{"data": [1]}]}).encode()
WRONG = json.dumps({"outputs": [{"data": [0]}]}).encode()


def sized(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\nt: 1\r\n\r\n"


@contextlib.asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[tuple[RestConnection, list[int]]]:
    """A server that gives these answers in turn; the list has the connection of each request."""
    left = list(answers)
    served: list[int] = []
    connections = 0
    handlers: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        mine = connections
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        handlers.append(task)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while left:
                await reader.readexactly(len(CASE.rest))
                served.append(mine)
                answer = left.pop(0)
                writer.write(answer)
                if not answer or b"connection: close" in answer:
                    break
            await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        connection = RestConnection(HOST, server.sockets[0].getsockname()[1])
        yield connection, served
        await connection.close()
        await asyncio.gather(*handlers)


async def test_right_answers_on_one_connection() -> None:
    async with scripted(sized(RIGHT), chunked(RIGHT), sized(RIGHT)) as (connection, served):
        for _ in range(3):
            await connection.ask(CASE, timeout=5)
        assert served == [1, 1, 1]


async def test_a_wrong_answer_and_a_refusal_are_told_apart() -> None:
    refusal = sized(b'{"error": "no room"}', "503 Service Unavailable")
    async with scripted(sized(WRONG), refusal, sized(RIGHT)) as (connection, served):
        with pytest.raises(WrongAnswer):
            await connection.ask(CASE, timeout=5)
        with pytest.raises(RequestFailed, match=r"REST 503.*no room"):
            await connection.ask(CASE, timeout=5)
        await connection.ask(CASE, timeout=5)
        assert served == [1, 1, 1]


async def test_a_connection_that_the_server_closes_is_opened_again() -> None:
    closing = sized(RIGHT, more="connection: close\r\n")
    async with scripted(closing, sized(RIGHT)) as (connection, served):
        await connection.ask(CASE, timeout=5)
        await connection.ask(CASE, timeout=5)
        assert served == [1, 2]


async def test_silence_and_noise_are_failures_and_not_hangs() -> None:
    noise = b"not http at all\r\n\r\n"
    async with scripted(noise, sized(RIGHT), sized(RIGHT)[:-3]) as (connection, served):
        with pytest.raises(RequestFailed, match="not an HTTP answer"):
            await connection.ask(CASE, timeout=5)
        await connection.ask(CASE, timeout=5)
        with pytest.raises(RequestFailed, match=r"no answer within 0\.1 s"):
            await connection.ask(CASE, timeout=0.1)
        assert served == [1, 2, 2]


async def test_nobody_listens() -> None:
    async with scripted() as (connection, _):
        pass
    with pytest.raises(RequestFailed, match="connection lost"):
        await connection.ask(CASE, timeout=5)
    over_grpc = GrpcConnection(HOST, 1)
    with pytest.raises(RequestFailed, match="gRPC UNAVAILABLE"):
        await over_grpc.ask(CASE, timeout=5)
    await over_grpc.close()


async def test_grpc_answers() -> None:
    answers = [[1], [0]]

    async def infer(message: bytes, _: object) -> bytes:
        assert pb.ModelInferRequest.FromString(message).model_name == "acorn"
        output = pb.ModelInferResponse.InferOutputTensor(
            datatype="INT64", contents=pb.InferTensorContents(int64_contents=answers.pop(0))
        )
        return pb.ModelInferResponse(outputs=[output]).SerializeToString()

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(infer)
    service = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"ModelInfer": handler}
    )
    server = grpc.aio.server(handlers=(service,))
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    connection = GrpcConnection(HOST, port)
    await connection.ask(CASE, timeout=5)
    with pytest.raises(WrongAnswer):
        await connection.ask(CASE, timeout=5)
    await connection.close()
    await server.stop(None)
