"""Sends one request in each form that the protocol has: JSON, binary tensors over REST, and both that gRPC's messages
have.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from overbook.wire import oip_pb2
from tests.integration import own_doors

CALL = 60.0
# Values of each output by its name; or, under this name, the text of a refusal.
ERROR = "error"
Answer = dict[str, Any]
_FIELDS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Ways:
    """To one server. Inputs are as in JSON, with flat data; BYTES may be text or bytes. ``content_type``: the
    request's.
    """

    def __init__(self, rest: str, grpc_address: str) -> None:
        self._rest = own_doors.blocking_client(rest)
        self._channel = grpc.insecure_channel(grpc_address)
        self._closing = contextlib.ExitStack()
        door = self._closing.enter_context(own_doors.tcp_door(rest))
        self._binary = triton_http.InferenceServerClient(door, network_timeout=CALL)
        self._raw = triton_grpc.InferenceServerClient(grpc_address)
        self.all: dict[str, Callable[..., Answer]] = {
            "JSON": self.json,
            "binary": self.binary,
            "gRPC": self.contents,
            "raw gRPC": self.raw,
        }

    def close(self) -> None:
        self._rest.close()
        self._channel.close()
        self._binary.close()
        self._closing.close()
        self._raw.close()

    def json(
        self,
        model: str,
        inputs: Sequence[dict[str, Any]],
        outputs: Sequence[str] = (),
        content_type: str = "",
    ) -> Answer:
        body: dict[str, Any] = {"inputs": inputs}
        if outputs:
            body["outputs"] = [{"name": name} for name in outputs]
        body["parameters"] = _said(content_type)
        reply = self._rest.post(f"/v2/models/{model}/infer", json=body)
        if reply.status_code != 200:
            assert reply.status_code == 400, reply.text
            return {ERROR: reply.json()["error"]}
        return {
            each["name"]: _shaped(each["data"], each["shape"]) for each in reply.json()["outputs"]
        }

    def contents(
        self,
        model: str,
        inputs: Sequence[dict[str, Any]],
        outputs: Sequence[str] = (),
        content_type: str = "",
    ) -> Answer:
        request = oip_pb2.ModelInferRequest(model_name=model)
        for given in inputs:
            tensor = request.inputs.add(
                name=given["name"], shape=given["shape"], datatype=given["datatype"]
            )
            for key, value in given.get("parameters", {}).items():
                tensor.parameters[key].string_param = value
            values = _bytes(given["data"])
            getattr(tensor.contents, _FIELDS[given["datatype"]]).extend(values)
        for name in outputs:
            request.outputs.add(name=name)
        for key, value in _said(content_type).items():
            request.parameters[key].string_param = value
        call = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )
        try:
            answer: oip_pb2.ModelInferResponse = call(request, timeout=CALL)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return {ERROR: error.details()}
        return {
            each.name: _shaped(list(getattr(each.contents, _FIELDS[each.datatype])), each.shape)
            for each in answer.outputs
        }

    def binary(
        self,
        model: str,
        inputs: Sequence[dict[str, Any]],
        outputs: Sequence[str] = (),
        content_type: str = "",
    ) -> Answer:
        tensors = [_tensor(triton_http.InferInput, each) for each in inputs]
        asked = [triton_http.InferRequestedOutput(name, binary_data=True) for name in outputs]
        return self._by_triton(self._binary, model, tensors, asked, content_type)

    def raw(
        self,
        model: str,
        inputs: Sequence[dict[str, Any]],
        outputs: Sequence[str] = (),
        content_type: str = "",
    ) -> Answer:
        tensors = [_tensor(triton_grpc.InferInput, each) for each in inputs]
        asked = [triton_grpc.InferRequestedOutput(name) for name in outputs]
        return self._by_triton(self._raw, model, tensors, asked, content_type)

    def _by_triton(
        self, client: Any, model: str, tensors: list[Any], asked: list[Any], content_type: str
    ) -> Answer:
        try:
            answer = client.infer(
                model, tensors, outputs=asked or None, parameters=_said(content_type) or None
            )
        except InferenceServerException as error:
            if error.status() not in ("400", "StatusCode.INVALID_ARGUMENT"):
                raise
            return {ERROR: error.message()}
        described = answer.get_response()
        names = (
            [each["name"] for each in described["outputs"]]
            if isinstance(described, dict)
            else [each.name for each in described.outputs]
        )
        found = {name: answer.as_numpy(name) for name in names}
        return {name: _shaped(each.ravel().tolist(), each.shape) for name, each in found.items()}


def _said(content_type: str) -> dict[str, str]:
    return {"content_type": content_type} if content_type else {}


def _tensor(kind: Any, given: dict[str, Any]) -> Any:
    dtype = object if given["datatype"] == "BYTES" else triton_to_np_dtype(given["datatype"])
    tensor = kind(given["name"], given["shape"], given["datatype"])
    tensor.set_data_from_numpy(np.array(_bytes(given["data"]), dtype).reshape(given["shape"]))
    for key, value in given.get("parameters", {}).items():
        # The client has no call for an input's own parameters.
        if isinstance(tensor, triton_http.InferInput):
            tensor._parameters[key] = value
        else:
            tensor._input.parameters[key].string_param = value
    return tensor


def _bytes(values: Sequence[Any]) -> list[Any]:
    return [each.encode() if isinstance(each, str) else each for each in values]


def _shaped(values: Sequence[Any], shape: Sequence[int]) -> Any:
    """Nested lists; a row of one is that one, as models differ in which they answer."""
    plain = [each.decode() if isinstance(each, bytes) else each for each in values]
    wide = shape[-1] if len(shape) > 1 else 1
    assert len(plain) == math.prod(shape)
    return plain if wide == 1 else [plain[at : at + wide] for at in range(0, len(plain), wide)]
