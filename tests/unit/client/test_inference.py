"""Inference over REST against a fake, and over gRPC against a real gRPC server of the same protocol."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from overbook.client.errors import BadTensor, NotFound, NotRunning, Refused, TimedOut
from overbook.client.http import JsonObject
from overbook.client.inference import RestInference
from overbook.client.inference_grpc import GrpcInference
from overbook.wire import oip_pb2 as oip
from tests.unit.client.fake_overbook import model, running

REQUEST: JsonObject = {
    "id": "7",
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[0.5, 1.0], [1.5, 2.0]]}
    ],
}

Infer = Callable[[oip.ModelInferRequest, grpc.ServicerContext], oip.ModelInferResponse]


@contextmanager
def grpc_server(infer: Infer) -> Iterator[str]:
    """A server of ModelInfer alone, on a free loopback port."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=oip.ModelInferRequest.FromString,
        response_serializer=oip.ModelInferResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "inference.GRPCInferenceService", {"ModelInfer": handler}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def echo(request: oip.ModelInferRequest, _: grpc.ServicerContext) -> oip.ModelInferResponse:
    response = oip.ModelInferResponse(model_name=request.model_name, id=request.id)
    for tensor in request.inputs:
        response.outputs.add(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, contents=tensor.contents
        )
    return response


def test_rest_asks_the_model() -> None:
    with running() as fake:
        fake.add(model("iris"))
        client = RestInference(fake.url)
        assert client.infer("iris", REQUEST, timeout=5) == {
            "model_name": "iris",
            "outputs": REQUEST["inputs"],
        }
        assert fake.requests == [("POST", "/v2/models/iris/infer", REQUEST)]
        client.close()


def test_rest_failures() -> None:
    with running() as fake:
        fake.refusals["broken"] = (503, "load failed: invalid load key")
        fake.add(model("iris"))
        fake.raw["/v2/models/iris/infer"] = (200, b"\x00binary")
        client = RestInference(fake.url)
        with pytest.raises(NotFound, match="'no' is not registered"):
            client.infer("no", REQUEST, timeout=5)
        with pytest.raises(Refused, match="invalid load key") as refused:
            client.infer("broken", REQUEST, timeout=5)
        assert refused.value.status == 503
        with pytest.raises(Refused, match="something other than JSON"):
            client.infer("iris", REQUEST, timeout=5)
        client.close()


def test_grpc_asks_the_model_with_the_same_json() -> None:
    with grpc_server(echo) as url:
        client = GrpcInference(url)
        assert client.infer("iris", REQUEST, timeout=5) == {
            "model_name": "iris",
            "id": "7",
            "outputs": [
                {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [0.5, 1.0, 1.5, 2.0]}
            ],
        }
        client.close()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.UNAVAILABLE, Refused),
        (grpc.StatusCode.INVALID_ARGUMENT, Refused),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
    ],
)
def test_grpc_failures(code: grpc.StatusCode, error: type[Exception]) -> None:
    def fail(_: oip.ModelInferRequest, context: grpc.ServicerContext) -> oip.ModelInferResponse:
        context.abort(code, "because\nof this")

    with grpc_server(fail) as url:
        client = GrpcInference(url)
        with pytest.raises(error) as refused:
            client.infer("iris", REQUEST, timeout=5)
        assert "\n" not in str(refused.value)
        client.close()


def test_grpc_with_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = GrpcInference(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(NotRunning, match="--url or OVERBOOK_URL"):
            client.infer("iris", REQUEST, timeout=5)
        client.close()


def test_requests_without_a_grpc_form_are_refused_before_anything_is_sent() -> None:
    client = GrpcInference("127.0.0.1:1")
    with pytest.raises(BadTensor, match=r"inputs\[0\].datatype: 'FP16'"):
        client.infer(
            "iris",
            {"inputs": [{"name": "x", "datatype": "FP16", "shape": [1], "data": [1]}]},
            timeout=1,
        )
    client.close()
