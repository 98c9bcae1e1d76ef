"""Inference over REST: an Open Inference Protocol request and its answer, as JSON.

The same over gRPC is `inference_grpc`, apart because importing gRPC takes 0.2 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

from overbook.client.addresses import DEFAULT_URL, URL_SETTING
from overbook.client.credentials import UNAUTHENTICATED, credentials, unknown
from overbook.client.errors import NotFound, Refused
from overbook.client.http import Endpoint, JsonObject, Reply


class InferenceClient(Protocol):
    """Either way to ask a model. May raise the errors of `errors`."""

    def infer(
        self,
        model: str,
        request: JsonObject,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> JsonObject: ...

    def metadata(
        self, model: str, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> JsonObject: ...

    def close(self) -> None: ...


class RestInference:
    """The data plane over HTTP/1.1, on one kept connection."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        self._endpoint = Endpoint(url, setting=URL_SETTING, headers=credentials())

    def close(self) -> None:
        self._endpoint.close()

    def infer(
        self,
        model: str,
        request: JsonObject,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """The model's answer. `timeout` is in seconds and includes a cold model's activation."""
        path = f"/v2/models/{quote(model, safe='')}/infer"
        return self._object(
            self._endpoint.call("POST", path, request, timeout=timeout, more=headers)
        )

    def metadata(
        self, model: str, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        """What the model takes and gives, as far as it is known without a load."""
        path = f"/v2/models/{quote(model, safe='')}"
        return self._object(self._endpoint.call("GET", path, timeout=timeout, more=headers))

    def _object(self, reply: Reply) -> JsonObject:
        if reply.status == 404:
            raise NotFound(reply.said())
        if reply.status == UNAUTHENTICATED:
            raise Refused(unknown(), reply.status)
        if reply.status != 200:
            raise Refused(reply.said(), reply.status)
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Refused(
                f"{self._endpoint.url} answered with something other than JSON; "
                "if the model sends binary tensors, use a client that reads them"
            )
        return answer
