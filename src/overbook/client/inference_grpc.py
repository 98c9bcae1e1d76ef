"""Inference over gRPC: the JSON request converted, sent to `ModelInfer`, and its answer converted back.

Apart from `inference` because importing gRPC takes 0.2 s, which only `--grpc` should pay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc

from overbook.client import tls_faults
from overbook.client.addresses import DEFAULT_URL, URL_SETTING, address
from overbook.client.credentials import credentials, unknown
from overbook.client.errors import (
    ClientError,
    NotFound,
    NotRunning,
    Refused,
    TimedOut,
    TlsFailed,
)
from overbook.client.http import JsonObject
from overbook.client.tensors import request_from_json, response_to_json
from overbook.client.trust import Trust, trust
from overbook.wire import oip_pb2 as oip
from overbook.wire.limits import MAX_MESSAGE

_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # An HTTP proxy of the environment is for the outer world.
    ("grpc.enable_http_proxy", 0),
)


class GrpcInference:
    """The data plane over gRPC: with TLS where the URL begins with https."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        """Raises BadUrl, BadTrust."""
        self._address = address(url)
        self._url = self._address.url
        self._trust = trust() if self._address.tls else None
        self._channel = _channel(self._address.target, self._trust)
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
        if code is grpc.StatusCode.UNAVAILABLE and (why := self._tls_trouble()):
            return TlsFailed(why)
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
            return NotRunning(self._url, URL_SETTING)
        return Refused(f"{code.name}: {details}")

    def _tls_trouble(self) -> str:
        """The library does not tell: a second look does."""
        context = None if self._trust is None else self._trust.context()
        return tls_faults.trouble(self._address, context, URL_SETTING)


def _channel(target: str, trusted: Trust | None) -> grpc.Channel:
    if trusted is None:
        return grpc.insecure_channel(target, options=_OPTIONS)
    certificate, key = trusted.shown()
    credentials = grpc.ssl_channel_credentials(trusted.roots(), key, certificate)
    options: tuple[tuple[str, int | str], ...] = _OPTIONS
    if trusted.pinned is not None:
        options = (*options, ("grpc.ssl_target_name_override", trusted.pinned.name))
    return grpc.secure_channel(target, credentials, options=options)


def _metadata(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Names of metadata are in small letters in HTTP/2."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    return tuple((credentials() | given).items())


def _tensor(tensor: oip.ModelMetadataResponse.TensorMetadata) -> JsonObject:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
