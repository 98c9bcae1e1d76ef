"""Requests over both protocols whose every answer is compared with what the model answered when it was made."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
import grpc
import grpc.aio
import numpy as np

from bench.grpc_load import SERVICE
from bench.zoo import Exhibit
from overbook.wire import oip_pb2

_SECONDS: Final = 120.0
_TOLERANCE: Final = 1e-3
_CONTENTS: Final = {
    "FP64": "fp64_contents",
    "FP32": "fp32_contents",
    "INT64": "int64_contents",
    "BYTES": "bytes_contents",
}
_RAW: Final = {"FP64": np.float64, "FP32": np.float32, "INT64": np.int64}
_OPTIONS: Final = (("grpc.max_receive_message_length", 2**28),)


class WrongAnswer(Exception):
    """A request got no answer, or another than the model's own. One line."""


class Caller:
    """Both protocols at addresses "host:port". Make it inside the event loop that uses it; `close` it."""

    def __init__(self, rest: str, grpc_address: str) -> None:
        self._rest = f"http://{rest}"
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(_SECONDS)
        )
        self._channel = grpc.aio.insecure_channel(grpc_address, options=_OPTIONS)
        self._infer: grpc.aio.UnaryUnaryMultiCallable[
            oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
        ] = self._channel.unary_unary(
            f"{SERVICE}ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )

    async def close(self) -> None:
        await self._http.close()
        await self._channel.close()

    async def ask(self, exhibit: Exhibit, *, over_grpc: bool) -> None:
        """Raises WrongAnswer."""
        same(exhibit, await (self._grpc(exhibit) if over_grpc else self._rest_answer(exhibit)))

    async def _rest_answer(self, exhibit: Exhibit) -> object:
        return await self.post(exhibit.name, json.dumps(exhibit.request).encode(), {})

    async def post(self, model: str, body: bytes, headers: Mapping[str, str]) -> object:
        """The data of the first output of the answer to any body. Raises WrongAnswer."""
        url = f"{self._rest}/v2/models/{model}/infer"
        sent = {"content-type": "application/json", **headers}
        try:
            async with self._http.post(url, data=io.BytesIO(body), headers=sent) as reply:
                answer = await reply.read()
                if reply.status != 200:
                    raise WrongAnswer(f"REST {model}: {reply.status} {answer[:200]!r}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise WrongAnswer(f"REST {model}: {type(error).__name__} {error}") from None
        said = json.loads(answer)
        if said["model_name"] != model:
            raise WrongAnswer(f"REST {model}: an answer of {said['model_name']!r}")
        data: object = said["outputs"][0]["data"]
        return data

    async def _grpc(self, exhibit: Exhibit) -> object:
        try:
            answer = await self._infer(grpc_request(exhibit), timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise WrongAnswer(f"gRPC {exhibit.name}: {error.code()} {error.details()}") from None
        if answer.model_name != exhibit.name:
            raise WrongAnswer(f"gRPC {exhibit.name}: an answer of {answer.model_name!r}")
        output = answer.outputs[0]
        if answer.raw_output_contents:  # Triton's form
            return np.frombuffer(answer.raw_output_contents[0], _RAW[output.datatype]).tolist()
        return list(getattr(output.contents, _CONTENTS[output.datatype]))


def grpc_request(exhibit: Exhibit) -> oip_pb2.ModelInferRequest:
    """The same request as over REST."""
    message = oip_pb2.ModelInferRequest(model_name=exhibit.name)
    for key, value in _mapping(exhibit.request.get("parameters", {})).items():
        message.parameters[key].string_param = str(value)
    inputs = exhibit.request["inputs"]
    assert isinstance(inputs, list)
    for each in map(_mapping, inputs):
        datatype, shape, data = str(each["datatype"]), each["shape"], each["data"]
        assert isinstance(shape, list)
        assert isinstance(data, list)
        tensor = message.inputs.add(name=str(each["name"]), datatype=datatype, shape=shape)
        values = [value.encode() if isinstance(value, str) else value for value in data]
        getattr(tensor.contents, _CONTENTS[datatype]).extend(values)
    return message


def same(exhibit: Exhibit, data: object) -> None:
    """Raises WrongAnswer when the data of an answer are not the model's own."""
    if not _alike(exhibit.answers, data):
        raise WrongAnswer(f"{exhibit.name}: {str(data)[:200]}, expected {exhibit.answers[:10]}")


def _alike(expected: Sequence[float | str], data: object) -> bool:
    if not isinstance(data, list) or len(data) != len(expected):
        return False
    try:
        numbers = np.array(data, np.float64), np.array(expected, np.float64)
    except (ValueError, TypeError):
        return list(expected) == data
    return bool(np.allclose(*numbers, rtol=_TOLERANCE, atol=_TOLERANCE))


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value
