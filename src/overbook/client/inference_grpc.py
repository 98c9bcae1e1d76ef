"""Inference over gRPC: the JSON request converted, sent to `ModelInfer`, and its answer converted back.

Apart from `inference` because importing gRPC takes 0.2 s, which only `--grpc` should pay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import grpc

from overbook.client.addresses import DEFAULT_URL, URL_SETTING
from overbook.client.credentials import credentials, unknown
from overbook.client.errors import BadUrl, ClientError, NotFound, NotRunning, Refused, TimedOut
from overbook.client.http import JsonObject
from overbook.client.tensors import request_from_json, response_to_json
from overbook.wire import oip_pb2 as oip
from overbook.wire.limits import MAX_MESSAGE

_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # An HTTP proxy of the environment is for the outer world.
    ("grpc.enable_http_proxy", 0),
)


class GrpcInference:
    """The data plane over gRPC, without TLS, as `up` serves it."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        target = urlsplit(url if "://" in url else f"http://{url}").netloc
        if not target:
            raise BadUrl(f"{url!r} is not a URL; expected http://HOST:PORT")
        self._url = url
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        self._infer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )
        self._describe = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelMetadata",
            request_serializer=oip.ModelMetadataRequest.SerializeToString,
            response_deserializer=oip.ModelMetadataResponse.FromString,
        )

    def close(self) -> None:
        self._channel.close()

    def infer(
        self,
        model: str,
        request: JsonObject,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """The model's answer; BadTensor when the request has no gRPC form. `timeout` in seconds."""
        message = request_from_json(model, request)
        try:
            answer = self._infer(message, timeout=timeout, metadata=_metadata(headers))
            return response_to_json(answer)
        except grpc.RpcError as error:
            raise self._said(error, timeout) from None

    def metadata(
        self, model: str, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        """What the model takes and gives, as far as it is known without a load; in the form that it has over REST."""
        asked = oip.ModelMetadataRequest(name=model)
        try:
            answer = self._describe(asked, timeout=timeout, metadata=_metadata(headers))
        except grpc.RpcError as error:
            raise self._said(error, timeout) from None
        return {
            "name": answer.name,
            "versions": list(answer.versions),
            "platform": answer.platform,
            "inputs": [_tensor(each) for each in answer.inputs],
            "outputs": [_tensor(each) for each in answer.outputs],
        }

    def _said(self, error: grpc.RpcError, timeout: float) -> ClientError:
        code = error.code()
        details = " ".join((error.details() or code.name).split())
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return Refused(unknown())
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(f"no answer from {self._url} within {timeout:g} s; ask for longer")
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
            return NotRunning(self._url, URL_SETTING)
        return Refused(f"{code.name}: {details}")


def _metadata(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Names of metadata are in small letters in HTTP/2."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    return tuple((credentials() | given).items())


def _tensor(tensor: oip.ModelMetadataResponse.TensorMetadata) -> JsonObject:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
