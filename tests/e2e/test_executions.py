"""A request runs once, whatever its model answers: models on the real servers write a line for each execution."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from overbook.wire import oip_pb2
from tests.e2e.process import Overbook, model_manifest, server_manifest

SECONDS = 60.0
SERVICE = "/inference.GRPCInferenceService/"
_MLSERVER = """
import asyncio
import json
import os
import signal

from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.types import InferenceResponse


class Unusual(BaseException):
    pass


class Says(MLModel):
    async def load(self):
        self.log = self.settings.parameters.extra["log"]
        return True

    async def predict(self, payload):
        [said] = StringCodec.decode_input(payload.inputs[0])
        said = json.loads(said)
        with open(self.log, "a") as log:
            log.write(said["id"] + "\\n")
        if said["how"] == "exits":
            os._exit(3)
        if said["how"] == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if said["how"] == "cancelled":
            raise asyncio.CancelledError
        if said["how"] == "base":
            raise Unusual
        if said["how"] == "not found":
            raise ModelNotFound("customer-7")
        if said["how"] == "its own name":
            raise ModelNotFound(self.name)
        if said["how"] == "forged":
            output = StringCodec.encode_output("y", ["done"])
            headers = {"X-Overbook-Unanswered": "1", "x-mine": "2"}
            return InferenceResponse(
                model_name=self.name, outputs=[output], parameters={"headers": headers}
            )
        raise MLServerError("said the model", int(said["how"]))

    async def predict_stream(self, payloads):
        async for payload in payloads:
            yield await self.predict(payload)
"""
_TRITON = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils

LOG = {log!r}


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            said = json.loads(pb_utils.get_input_tensor_by_name(request, "x").as_numpy()[0])
            with open(LOG, "a") as log:
                log.write(said["id"] + "\\n")
            code = getattr(pb_utils.TritonError, said["how"])
            text = said.get("text", "said the model") * said.get("times", 1)
            answers.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(text, code)))
        return answers
"""
_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_STRING dims: [1] }]
output [{ name: "y" data_type: TYPE_STRING dims: [1] }]
"""


class Asker:
    """Asks over each protocol, and counts how often that made the model run."""

    def __init__(self, running: Overbook, log: Path) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=SECONDS)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{running.port}")
        self._log = log
        self.id = ""

    def close(self) -> None:
        self._http.close()
        self._channel.close()

    @property
    def executions(self) -> int:
        """Of the request that came last."""
        return self._log.read_text().splitlines().count(self.id)

    def _said(self, how: str, **more: object) -> str:
        self.id = uuid.uuid4().hex
        return json.dumps({"id": self.id, "how": how, **more})

    def rest(self, model: str, how: str, **more: object) -> httpx.Response:
        said = self._said(how, **more)
        tensor = {"name": "x", "shape": [1], "datatype": "BYTES", "data": [said]}
        return self._http.post(
            f"/v2/models/{model}/infer",
            json={"inputs": [tensor | {"parameters": {"content_type": "str"}}]},
        )

    def _message(self, model: str, how: str, **more: object) -> oip_pb2.ModelInferRequest:
        message = oip_pb2.ModelInferRequest(model_name=model)
        tensor = message.inputs.add(name="x", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(self._said(how, **more).encode())
        tensor.parameters["content_type"].string_param = "str"
        return message

    def unary(self, model: str, how: str, **more: object) -> grpc.StatusCode:
        call: grpc.UnaryUnaryMultiCallable[
            oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
        ] = self._channel.unary_unary(f"{SERVICE}ModelInfer", **_CODEC)
        message = self._message(model, how, **more)
        return _status(lambda: call(message, timeout=SECONDS))

    def stream(self, model: str, how: str) -> grpc.StatusCode:
        call: grpc.StreamStreamMultiCallable[
            oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
        ] = self._channel.stream_stream(f"{SERVICE}ModelStreamInfer", **_CODEC)
        message = self._message(model, how)
        return _status(lambda: list(call(iter([message]), timeout=SECONDS)))


_CODEC: Any = {
    "request_serializer": oip_pb2.ModelInferRequest.SerializeToString,
    "response_deserializer": oip_pb2.ModelInferResponse.FromString,
}


def _status(ask: Callable[[], object]) -> grpc.StatusCode:
    try:
        ask()
    except grpc.RpcError as error:
        return _code(error)
    return grpc.StatusCode.OK


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    assert isinstance(error, grpc.Call)
    return error.code()


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    says, triton = home / "models" / "says", home / "models" / "triton-says"
    (triton / "1").mkdir(parents=True)
    says.mkdir()
    (says / "says.py").write_text(_MLSERVER)
    settings = {
        "name": "says",
        "implementation": "says.Says",
        "parameters": {"extra": {"log": str(home / "log")}},
    }
    (says / "model-settings.json").write_text(json.dumps(settings))
    (triton / "1" / "model.py").write_text(_TRITON.format(log=str(home / "log")))
    (triton / "config.pbtxt").write_text(_CONFIG)
    (home / "log").touch()
    with Overbook(home / "state") as made:
        applied = made.apply(
            server_manifest("200Mi"),
            server_manifest("1Gi", name="triton", serverConfig="triton"),
            model_manifest("says", says, requirements=["mlserver", "python"]),
            model_manifest("triton-says", triton, requirements=["triton", "python"]),
        )
        assert applied.code == 0, applied.err
        yield made


@pytest.fixture
def asker(running: Overbook, home: Path) -> Iterator[Asker]:
    made = Asker(running, home / "log")
    yield made
    made.close()


def cool(running: Overbook, model: str) -> None:
    evicted = running.run("evict", model)
    assert evicted.code == 0, evicted.err


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "hot"])
@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("404", 404, grpc.StatusCode.NOT_FOUND),
        ("421", 421, grpc.StatusCode.UNKNOWN),
        ("503", 503, grpc.StatusCode.UNKNOWN),
        ("500", 500, grpc.StatusCode.INTERNAL),
        ("not found", 404, grpc.StatusCode.NOT_FOUND),
        ("its own name", 404, grpc.StatusCode.NOT_FOUND),
        ("100", 500, grpc.StatusCode.UNKNOWN),
        ("999", 500, grpc.StatusCode.UNKNOWN),
        ("cancelled", 500, grpc.StatusCode.INTERNAL),
        ("base", 500, grpc.StatusCode.INTERNAL),
    ],
)
def test_what_a_model_on_mlserver_answers_is_asked_once(
    running: Overbook, asker: Asker, how: str, status: int, code: grpc.StatusCode, cold: bool
) -> None:
    if cold:
        cool(running, "says")
    assert asker.rest("says", how).status_code == status
    assert asker.executions == 1
    if cold:
        cool(running, "says")
    assert asker.unary("says", how) is code
    assert asker.executions == 1


@pytest.mark.parametrize("how", ["404", "not found", "its own name"])
def test_a_stream_that_a_model_refuses_is_opened_once(asker: Asker, how: str) -> None:
    for _ in range(2):
        assert asker.stream("says", how) is grpc.StatusCode.NOT_FOUND
        assert asker.executions == 1


def test_no_model_can_say_that_it_did_not_answer(asker: Asker) -> None:
    for _ in range(3):  # the later ones on the hot path
        answer = asker.rest("says", "forged")
        assert (answer.status_code, answer.headers["x-mine"]) == (200, "2")
        assert "x-overbook-unanswered" not in answer.headers
        assert asker.executions == 1
        assert asker.unary("says", "forged") is grpc.StatusCode.OK
        assert asker.executions == 1


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "hot"])
@pytest.mark.parametrize(
    ("how", "status"),
    [("NOT_FOUND", 404), ("UNAVAILABLE", 503), ("INTERNAL", 500), ("ALREADY_EXISTS", 400)],
)
def test_what_a_model_on_triton_answers_is_asked_once(
    running: Overbook, asker: Asker, how: str, status: int, cold: bool
) -> None:
    if cold:
        cool(running, "triton-says")
    assert asker.rest("triton-says", how).status_code == status
    assert asker.executions == 1
    if cold:
        cool(running, "triton-says")
    assert asker.unary("triton-says", how) is grpc.StatusCode[how]
    assert asker.executions == 1


@pytest.mark.parametrize("how", ["exits", "crashes"])
@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
@pytest.mark.parametrize("cold", [True, False], ids=["cold", "hot"])
def test_a_request_that_ends_the_process_runs_once(
    running: Overbook, asker: Asker, how: str, protocol: str, cold: bool
) -> None:
    """It is known whose code the process was in, so its model is held back when the request comes again."""
    freed = running.run("activate", "says")
    assert freed.code == 0, freed.err
    for _ in range(3):
        assert asker.rest("says", "500").status_code == 500
    if cold:
        cool(running, "says")
    if protocol == "REST":
        answer = asker.rest("says", how)
        assert answer.status_code == 503
        assert (
            "the inference server died while answering a request for it" in answer.json()["error"]
        )
    else:
        assert asker.unary("says", how) is grpc.StatusCode.UNAVAILABLE
    assert asker.executions == 1


@pytest.mark.parametrize(
    "text",
    [
        "Request for unknown model: 'other' is not found",
        "Request for unknown model: 'other' has no available versions",
        "Stub process 'other_0_0' is not healthy.",
        "Stub process is not healthy.",
        "Model 5 not found",
    ],
)
def test_a_model_on_triton_may_tell_what_another_server_said(asker: Asker, text: str) -> None:
    for _ in range(2):
        asker.rest("triton-says", "NOT_FOUND", text=text)
        assert asker.executions == 1
        asker.unary("triton-says", "UNAVAILABLE", text=text)
        assert asker.executions == 1


def test_a_model_on_triton_may_say_much(asker: Asker) -> None:
    assert asker.rest("triton-says", "INTERNAL", text="x", times=200_000).status_code == 500
    assert asker.executions == 1
    # In gRPC it is a header, which Envoy takes up to 60 KiB of.
    asker.unary("triton-says", "INTERNAL", text="x", times=50_000)
    assert asker.executions == 1
