"""The endpoint for gateways gives the answers of MLServer's own ports. One real server for the whole file."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import shutil
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import joblib
import numpy as np
import pytest
import pytest_asyncio
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.protocol import PreparedModel
from overbook.wire import oip_pb2
from tests.integration import mlserver_harness, own_doors

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 30.0
INFER = "/inference.GRPCInferenceService/ModelInfer"
# Differ from one request to the next, whoever answers.
_OF_ONE_REQUEST = {"date", "ce-id", "ce-requestid"}
_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d+) ")

_ODD = Path(__file__).parent / "inside" / "odd_model.py"


@dataclass(frozen=True)
class Answer:
    """What a client can see; what is new with every request left out."""

    status: int
    headers: list[tuple[str, str]]
    body: object


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MlserverServer]:
    folder = tmp_path_factory.mktemp("server")
    running = mlserver_harness.server(folder / "state")
    await running.start(timeout=60)
    iris, odd = folder / "iris", folder / "odd"
    (iris / "7").mkdir(parents=True)
    joblib.dump(
        LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)),
        iris / "7" / "model.joblib",
    )
    odd.mkdir()
    shutil.copyfile(_ODD, odd / "model.py")
    (odd / "model-settings.json").write_text(json.dumps({"implementation": "model.Model"}))
    await running.load(PreparedModel("iris", 1, iris), timeout=CALL)
    await running.load(PreparedModel("odd", 1, odd), timeout=CALL)
    await running.load(PreparedModel("odd-too", 1, odd), timeout=CALL)
    yield running
    await running.close()


def _visible(reply: httpx.Response) -> Answer:
    own = f":{reply.url.port}/"
    headers = [
        (name, value.replace(own, "/"))
        for name, value in reply.headers.multi_items()
        if name not in _OF_ONE_REQUEST
    ]
    if reply.headers.get("content-type") != "application/json":
        return Answer(reply.status_code, headers, reply.content)
    body = reply.json()
    if isinstance(body, dict) and "id" in body and reply.headers.get("ce-id") == body["id"]:
        # The same number of bytes, and in the same order: only the number itself may differ.
        body = reply.text.replace(body["id"], "ID")
    else:
        body = reply.text
    return Answer(reply.status_code, headers, body)


async def _both(
    server: MlserverServer, method: str, path: str, **request: object
) -> tuple[Answer, Answer]:
    answers = []
    for address in (server.addresses.rest, server.addresses.infer):
        async with own_doors.http_client(address) as client:
            answers.append(_visible(await client.request(method, path, **request)))  # type: ignore[arg-type]
    return answers[0], answers[1]


def _tensor(name: str = "x", **more: object) -> dict[str, object]:
    return {"name": name, "shape": [1, 4], "datatype": "FP64", "data": [5.1, 3.5, 1.4, 0.2], **more}


def _body(*tensors: Mapping[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": list(tensors) or [_tensor()], **more}).encode()


JSON = {"content-type": "application/json"}
CASES = {
    "plain": ("/v2/models/iris/infer", JSON, _body()),
    "a version": ("/v2/models/iris/versions/7/infer", JSON, _body()),
    "a version that is not there": ("/v2/models/iris/versions/8/infer", JSON, _body()),
    "no content type": ("/v2/models/iris/infer", {}, _body()),
    "a charset": (
        "/v2/models/iris/infer",
        {"content-type": "application/json; charset=utf-8"},
        _body(),
    ),
    "another JSON type": (
        "/v2/models/iris/infer",
        {"content-type": "application/json-patch"},
        _body(),
    ),
    "a type +json": ("/v2/models/iris/infer", {"content-type": "application/vnd.x+json"}, _body()),
    "a type in capitals": ("/v2/models/iris/infer", {"content-type": "Application/JSON"}, _body()),
    "not JSON by its type": ("/v2/models/iris/infer", {"content-type": "text/plain"}, _body()),
    "an id": ("/v2/models/iris/infer", JSON, _body(id="mine")),
    "an empty id": ("/v2/models/iris/infer", JSON, _body(id="")),
    "outputs": (
        "/v2/models/iris/infer",
        JSON,
        _body(outputs=[{"name": "predict_proba"}, {"name": "predict"}]),
    ),
    "an unknown output": ("/v2/models/iris/infer", JSON, _body(outputs=[{"name": "nix"}])),
    "nested data": (
        "/v2/models/iris/infer",
        JSON,
        _body(_tensor(data=[[5.1, 3.5, 1.4, 0.2]], parameters={"content_type": "np"})),
    ),
    "a wrong shape": ("/v2/models/iris/infer", JSON, _body(_tensor(shape=[1, 3]))),
    "a wrong datatype": ("/v2/models/iris/infer", JSON, _body(_tensor(datatype="FP65"))),
    "no shape": ("/v2/models/iris/infer", JSON, b'{"inputs":[{"name":"x"}]}'),
    "no inputs": ("/v2/models/iris/infer", JSON, b"{}"),
    "a list": ("/v2/models/iris/infer", JSON, b"[]"),
    "null": ("/v2/models/iris/infer", JSON, b"null"),
    "nothing": ("/v2/models/iris/infer", JSON, b""),
    "half a document": ("/v2/models/iris/infer", JSON, b'{"inputs": ['),
    "not UTF-8": ("/v2/models/iris/infer", JSON, b'{"inputs": "\xff"}'),
    "gzip": (
        "/v2/models/iris/infer",
        {**JSON, "content-encoding": "gzip"},
        gzip.compress(_body(), mtime=0),
    ),
    "deflate": (
        "/v2/models/iris/infer",
        {**JSON, "content-encoding": "deflate"},
        zlib.compress(_body()),
    ),
    "a form, as curl calls it": (
        "/v2/models/iris/infer",
        {"content-type": "application/x-www-form-urlencoded"},
        _body(),
    ),
    "a form of generate": (
        "/v2/models/iris/generate",
        {"content-type": "application/x-www-form-urlencoded"},
        _body(),
    ),
    "no content type in a model's eyes": ("/v2/models/odd/infer", {}, _body(_tensor("parameters"))),
    "an answer in gzip": (
        "/v2/models/iris/infer",
        {**JSON, "accept-encoding": "gzip"},
        _body(id="mine"),
    ),
    "an answer in deflate": (
        "/v2/models/iris/infer",
        {**JSON, "accept-encoding": "deflate"},
        _body(id="mine"),
    ),
    "an error in gzip": (
        "/v2/models/odd/infer",
        {**JSON, "accept-encoding": "gzip"},
        _body(_tensor("refuse")),
    ),
    "events in gzip": (
        "/v2/models/odd/infer_stream",
        {**JSON, "accept-encoding": "gzip"},
        _body(id="mine"),
    ),
    "no gzip": ("/v2/models/iris/infer", {**JSON, "content-encoding": "gzip"}, _body()),
    "another coding": ("/v2/models/iris/infer", {**JSON, "content-encoding": "br"}, _body()),
    "binary tensors asked for in JSON": (
        "/v2/models/iris/infer",
        JSON,
        _body(id="mine", parameters={"binary_data_output": True}),
    ),
    "JSON asked for in JSON": (
        "/v2/models/iris/infer",
        JSON,
        _body(outputs=[{"name": "predict", "parameters": {"binary_data": False}}]),
    ),
    "binary tensors": (
        "/v2/models/iris/infer",
        {"inference-header-content-length": "110"},
        b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","parameters":{"binary_data_size":32}}]}'.ljust(
            110
        )
        + np.array([5.1, 3.5, 1.4, 0.2]).tobytes(),
    ),
    "unknown model": ("/v2/models/nix/infer", JSON, _body()),
    "escapes": ("/v2/models/%69ris/infer", JSON, _body()),
    "an escaped slash": ("/v2/models/a%2Fb/infer", JSON, _body()),
    "a query": ("/v2/models/iris/infer?x=1", JSON, _body()),
    "a slash at the end": ("/v2/models/iris/infer/", JSON, _body()),
    "a path that is none": ("/v2/models/iris/infers", JSON, _body()),
    "generate": ("/v2/models/iris/generate", JSON, _body()),
    "a stream of events": ("/v2/models/odd/infer_stream", JSON, _body(id="mine")),
    "a handler of the model's own": ("/odd", JSON, b""),
    "an exception": ("/v2/models/odd/infer", JSON, _body(_tensor("fail"))),
    "an error": ("/v2/models/odd/infer", JSON, _body(_tensor("refuse"))),
    "an error of FastAPI": ("/v2/models/odd/infer", JSON, _body(_tensor("teapot"))),
    "a header of the request": (
        "/v2/models/odd/infer",
        {**JSON, "x-mine": "é".encode("latin-1")},
        _body(_tensor("header")),
    ),
    "names of headers": ("/v2/models/odd/infer", JSON, _body(_tensor("keys"))),
    "parameters": (
        "/v2/models/odd/infer",
        JSON,
        _body(_tensor("parameters"), parameters={"a": 1, "b": [True], "headers": {"c": "d"}}),
    ),
    "text": (
        "/v2/models/odd/infer",
        JSON,
        _body({"name": "bytes", "shape": [2], "datatype": "BYTES", "data": ["é", "b"]}),
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_rest_answers_are_those_of_mlservers_own_port(
    server: MlserverServer, case: str
) -> None:
    path, headers, body = CASES[case]
    theirs, ours = await _both(server, "POST", path, headers=headers, content=body)
    assert ours == theirs


async def test_a_compressed_body_is_bounded_and_whole(server: MlserverServer) -> None:
    """A small one may be anything when it is inflated, and what ends early is not a shorter request."""
    bodies = {
        413: zlib.compress(bytes(257 * 1024 * 1024), level=1),
        400: zlib.compress(_body())[:-8],
    }
    for status, body in bodies.items():
        theirs, ours = await _both(
            server,
            "POST",
            "/v2/models/iris/infer",
            headers={**JSON, "content-encoding": "deflate"},
            content=body,
        )
        assert ours == theirs
        assert (ours.status, '"error"' in str(ours.body)) == (status, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/models/iris"),
        ("GET", "/v2/models/iris/infer"),
        ("GET", "/v2/models/iris/ready"),
        ("POST", "/v2/repository/index"),
    ],
)
async def test_other_requests_are_mlservers(server: MlserverServer, method: str, path: str) -> None:
    theirs, ours = await _both(
        server, method, path, headers=JSON, content=b"{}" if method == "POST" else b""
    )
    assert ours == theirs


async def test_a_path_that_two_models_define_is_of_the_one_that_is_asked(
    server: MlserverServer,
) -> None:
    """A gateway names it; by the path alone MLServer would give it to whichever was loaded first."""
    for name in ("odd", "odd-too"):
        theirs, ours = await _both(server, "GET", "/whose", headers={"x-overbook-model": name})
        assert ours == theirs
        assert (ours.status, ours.body) == (200, f'"{name}"')
    _, nobody = await _both(server, "GET", "/whose", headers={"x-overbook-model": "iris"})
    assert nobody.status == 404
    await server.unload("odd-too", timeout=CALL)
    _, gone = await _both(server, "GET", "/whose", headers={"x-overbook-model": "odd-too"})
    assert gone.status == 404


async def test_the_first_of_two_headers_counts(server: MlserverServer) -> None:
    headers = [("content-type", "application/json"), ("x-mine", "one"), ("x-mine", "two")]
    theirs, ours = await _both(
        server, "POST", "/v2/models/odd/infer", headers=headers, content=_body(_tensor("header"))
    )
    assert ours == theirs


async def test_a_header_that_cannot_be_sent_is_an_error(server: MlserverServer) -> None:
    """Plain MLServer would hang up, which a proxy would take for a dead server."""
    async with own_doors.http_client(server.addresses.infer) as client:
        body = _body(_tensor("bad-header"))
        reply = await client.post("/v2/models/odd/infer", headers=JSON, content=body)
    assert (reply.status_code, list(reply.json())) == (500, ["error"])


async def test_a_body_in_chunks_and_one_of_many_megabytes(server: MlserverServer) -> None:
    rows = 200_000
    body = _body(_tensor(shape=[rows, 4], data=[0.25] * rows * 4))

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    async with own_doors.http_client(server.addresses.infer) as client:
        reply = await client.post("/v2/models/iris/infer", headers=JSON, content=chunks())
    assert reply.json()["outputs"][0]["shape"] == [rows, 1]


async def test_pipelined_requests_are_answered_in_turn(server: MlserverServer) -> None:
    reader, writer = await own_doors.connected(server.addresses.infer)
    for name in ("one", "refuse", "two"):
        body = _body(_tensor(name))
        head = (
            f"POST /v2/models/odd/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
    writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    async with asyncio.timeout(CALL):
        said = await reader.read()
    writer.close()
    assert _STATUS_LINE.findall(said) == [b"200", b"400", b"200", b"200"]
    assert said.index(b'"one"') < said.index(b'"two"')


async def test_a_connection_that_waits_holds_nothing_of_its_last_request(
    server: MlserverServer,
) -> None:
    """Neither the endpoint's own calls nor MLServer's application leave their heads in the server's memory."""
    connections = []
    for turn in range(20):
        reader, writer = await own_doors.connected(server.addresses.infer)
        connections.append(writer)
        body = _body(_tensor("one"))
        start = "POST /v2/models/odd/infer" if turn % 2 else "GET /v2/models/odd"
        sent = body if turn % 2 else b""
        head = f"{start} HTTP/1.1\r\nhost: x\r\nx-of-this-test: yes\r\ncontent-length: {len(sent)}\r\n\r\n"
        writer.write(head.encode() + sent)
        async with asyncio.timeout(CALL):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    async with own_doors.http_client(server.addresses.infer) as client:
        reply = await client.post(
            "/v2/models/odd/infer", headers=JSON, content=_body(_tensor("heads"))
        )
    for writer in connections:
        writer.close()
    assert reply.json()["outputs"][0]["data"] == ["0"]


def _message(model: str = "iris", name: str = "x") -> oip_pb2.ModelInferRequest:
    message = oip_pb2.ModelInferRequest(model_name=model)
    tensor = message.inputs.add(name=name, datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend([5.1, 3.5, 1.4, 0.2])
    return message


def _raw() -> oip_pb2.ModelInferRequest:
    message = oip_pb2.ModelInferRequest(model_name="iris", id="mine")
    message.inputs.add(name="x", datatype="FP64", shape=[1, 4])
    message.raw_input_contents.append(np.array([5.1, 3.5, 1.4, 0.2]).tobytes())
    message.outputs.add(name="predict_proba")
    return message


def _with_parameters() -> oip_pb2.ModelInferRequest:
    message = _message("odd", "parameters")
    message.parameters["a"].int64_param = 1
    message.parameters["b"].string_param = "é"
    message.inputs[0].parameters["content_type"].string_param = "np"
    return message


def _broken() -> oip_pb2.ModelInferRequest:
    message = _raw()
    message.raw_input_contents[0] = b"123"
    return message


MESSAGES = {
    "plain": _message(),
    "raw contents": _raw(),
    "broken raw contents": _broken(),
    "parameters": _with_parameters(),
    "unknown model": _message("nix"),
    "no model": _message(""),
    "an exception": _message("odd", "fail"),
    "an error": _message("odd", "refuse"),
    "an error of FastAPI": _message("odd", "teapot"),
    "a header of the request": _message("odd", "header"),
    "answers with headers": _message("odd", "other"),
}


@dataclass(frozen=True)
class GrpcAnswer:
    message: oip_pb2.ModelInferResponse | None
    status: int
    details: str
    trailers: list[tuple[str, str]]


_Trailers = tuple[tuple[str, str | bytes], ...]


async def _over_grpc(address: str, message: oip_pb2.ModelInferRequest) -> GrpcAnswer:
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            INFER,
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )(message, metadata=(("x-mine", "yes"), ("x-raw-bin", b"\x00\xff")), timeout=CALL)
        answer = None
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await call
        trailers = [(str(k), str(v)) for k, v in await call.trailing_metadata()]
        code = await call.code()
        return GrpcAnswer(answer, code.value[0], await call.details() or "", sorted(trailers))


async def _over_http1(
    address: str, message: oip_pb2.ModelInferRequest, coding: str = ""
) -> GrpcAnswer:
    """As a proxy asks: trailers after the body, or the status in the headers where there is none."""
    raw = message.SerializeToString()
    if coding:
        raw = gzip.compress(raw) if coding == "gzip" else zlib.compress(raw)
    frame = bytes([bool(coding)]) + len(raw).to_bytes(4, "big") + raw
    encoding = f"grpc-encoding: {coding}\r\n" if coding else ""
    head = (
        f"POST {INFER} HTTP/1.1\r\nhost: x\r\nte: trailers\r\ncontent-type: application/grpc\r\n{encoding}"
        "user-agent: test\r\nx-mine: yes\r\nx-raw-bin: AP8\r\nconnection: close\r\n"
        f"transfer-encoding: chunked\r\n\r\n{len(frame):x}\r\n"
    )
    reader, writer = await own_doors.connected(address)
    writer.write(head.encode() + frame + b"\r\n0\r\n\r\n")
    async with asyncio.timeout(CALL):
        said = await reader.read()
    writer.close()
    top, _, rest = said.partition(b"\r\n\r\n")
    status_line, *lines = top.split(b"\r\n")
    assert status_line == b"HTTP/1.1 200 OK"
    assert b"content-type: application/grpc" in lines
    answer = None
    if b"transfer-encoding: chunked" in lines:
        size, _, rest = rest.partition(b"\r\n")
        body, tail = rest[: int(size, 16)], rest[int(size, 16) :]
        assert body[:1] == b"\0"
        assert int.from_bytes(body[1:5], "big") == len(body) - 5
        answer = oip_pb2.ModelInferResponse.FromString(body[5:])
        assert tail.startswith(b"\r\n0\r\n")
        assert tail.endswith(b"\r\n\r\n")
        lines = tail[5:-4].split(b"\r\n")
    pairs = [(name, value) for name, _, value in (line.decode().partition(": ") for line in lines)]
    found = dict(pairs)
    known = ("content-type", "content-length", "connection", "grpc-status", "grpc-message")
    status = int(found["grpc-status"])
    details = httpx.QueryParams(f"x={found.get('grpc-message', '').replace('+', '%2B')}")["x"]
    return GrpcAnswer(
        answer, status, details, sorted(pair for pair in pairs if pair[0] not in known)
    )


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
@pytest.mark.parametrize("case", MESSAGES)
async def test_grpc_answers_are_those_of_mlservers_own_port(
    server: MlserverServer, case: str, coding: str
) -> None:
    theirs = await _over_grpc(server.addresses.grpc, MESSAGES[case])
    ours = await _over_http1(server.addresses.infer, MESSAGES[case], coding)
    same = {"ce-id", "ce-requestid"} if not MESSAGES[case].id else set()
    assert [each for each in ours.trailers if each[0] not in same] == [
        each for each in theirs.trailers if each[0] not in same
    ]
    assert (ours.message, ours.status, ours.details) == (
        theirs.message,
        theirs.status,
        theirs.details,
    )


def _compressed(message: bytes) -> bytes:
    return b"\1" + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", "13"),
        (b"\0\0\0\0\x09abc", "13"),
        (b"\0\0\0\0\x03\xff\xff\xff", "13"),
        (b"\1\0\0\0\x03abc", "13"),
        (_compressed(gzip.compress(b"")[:-1]), "13"),
        (_compressed(gzip.compress(b"") * 2), "13"),
        (_compressed(gzip.compress(bytes(257 * 1024 * 1024), 1)), "8"),
    ],
    ids=["nothing", "too short", "no protobuf", "not compressed", "cut off", "two", "a bomb"],
)
async def test_what_is_no_message_is_refused(
    server: MlserverServer, body: bytes, status: str
) -> None:
    async with own_doors.http_client(server.addresses.infer) as client:
        headers = {"content-type": "application/grpc", "grpc-encoding": "gzip"}
        reply = await client.post(INFER, headers=headers, content=body)
        assert reply.headers["grpc-status"] == status
        headers["grpc-encoding"] = "br"
        reply = await client.post(INFER, headers=headers, content=_compressed(b"x"))
        assert reply.headers["grpc-status"] == "12"
    assert reply.headers["grpc-message"]


async def test_a_call_whose_caller_has_gone_ends(server: MlserverServer) -> None:
    raw = _message("odd", "wait").SerializeToString()
    frame = b"\0" + len(raw).to_bytes(4, "big") + raw
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: {len(frame)}\r\n\r\n"
    _, writer = await own_doors.connected(server.addresses.infer)
    writer.write(head.encode() + frame)
    await writer.drain()
    # Another call on the same loop is answered after the first one has begun to wait.
    before = await _over_http1(server.addresses.infer, _message("odd", "cancelled"))
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(CALL):
        while (
            await _over_http1(server.addresses.infer, _message("odd", "cancelled"))
        ).message == before.message:
            pass
