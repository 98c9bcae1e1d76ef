"""REST ``infer`` on the endpoint for gateways: MLServer's types, data plane and serialisation, without FastAPI's
routing and dependencies. A request that is not plainly right is left to MLServer's application, which says what is
wrong with it.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import orjson
from fastapi.routing import serialize_response
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.types import InferenceRequest
from mlserver.utils import extract_headers, insert_headers

from overbook_mlserver.encodings import COMPRESSED
from overbook_mlserver.gateway_endpoint import Headers, Reply, Work
from overbook_mlserver.rest_errors import RestErrors

_ROUTE = "/v2/models/{model_name}/infer"
# Not ours: a body in binary form or compressed.
_LEFT_TO_APP = frozenset((b"inference-header-content-length", b"content-encoding"))
_JSON = b"application/json"
# The name with which a request may ask for binary tensors, or what begins like it.
_BINARY = b'"binary_data'


class RestInfer:
    """A `ShortWay`. ``app``: MLServer's REST application."""

    cancels = False
    # A path with escapes or a query is left to the application as well.
    in_line = True
    path = re.compile(rb"/v2/models/([^/?#%]+)(?:/versions/([^/?#%]+))?/infer")

    def __init__(self, app: Any, data_plane: Any, errors: RestErrors) -> None:
        self._data_plane = data_plane
        self._errors = errors
        route = next(route for route in app.routes if getattr(route, "path", "") == _ROUTE)
        self._serialise = functools.partial(
            serialize_response,
            field=route.response_field,
            exclude_unset=route.response_model_exclude_unset,
            exclude_none=route.response_model_exclude_none,
            by_alias=route.response_model_by_alias,
        )

    def prepare(self, found: re.Match[bytes], headers: Headers, body: bytes) -> Work | None:
        known: dict[str, str] = {}
        for name, value in headers:
            if name in _LEFT_TO_APP:
                return None
            # The first of several, as in MLServer.
            known.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        said = known.setdefault("content-type", "application/json")
        if said.partition(";")[0] != "application/json" or _BINARY in body:
            return None
        if known.get("accept-encoding") in COMPRESSED:
            return None
        try:
            payload = InferenceRequest.model_validate(orjson.loads(body))
        except ValueError:
            return None
        insert_headers(payload, known)
        name, version = (part and part.decode("latin-1") for part in found.groups())
        return functools.partial(self._infer, payload, name, version)

    async def _infer(self, payload: InferenceRequest, name: str, version: str | None) -> Reply:
        result = await self._data_plane.infer(payload, name, version)
        headers: dict[bytes, bytes] = {b"content-type": _JSON}
        for key, value in (extract_headers(result) or {}).items():
            headers[key.lower().encode("latin-1")] = value.encode("latin-1")
        body = encode_to_json_bytes(await self._serialise(response_content=result))
        return Reply(list(headers.items()), body)

    async def failed(self, scope: Any, receive: Any, send: Any, error: Exception) -> None:
        await self._errors.answer(scope, receive, send, error)
