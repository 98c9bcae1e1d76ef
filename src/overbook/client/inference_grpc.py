"""Inference over gRPC: the JSON request converted, sent to `ModelInfer`, and its answer converted back.

Apart from `inference` because importing gRPC takes 0.2 s, which only `--grpc` should pay.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import grpc

from overbook.client.addresses import DEFAULT_URL, URL_SETTING
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

    def close(self) -> None:
        self._channel.close()

    def infer(self, model: str, request: JsonObject, *, timeout: float) -> JsonObject:
        """The model's answer; BadTensor when the request has no gRPC form. `timeout` in seconds."""
        message = request_from_json(model, request)
        try:
            return response_to_json(self._infer(message, timeout=timeout))
        except grpc.RpcError as error:
            raise self._said(error, timeout) from None

    def _said(self, error: grpc.RpcError, timeout: float) -> ClientError:
        code = error.code()
        details = " ".join((error.details() or code.name).split())
        if code is grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(f"no answer from {self._url} within {timeout:g} s; ask for longer")
        if code is grpc.StatusCode.UNAVAILABLE and "failed to connect" in details:
            return NotRunning(self._url, URL_SETTING)
        return Refused(f"{code.name}: {details}")
