"""The body of an inference request is JSON, whatever its head says of it.

``curl -d`` calls what it sends a form, and other clients say nothing: Triton reads it as what it is, and so does this
server. FastAPI would not.
"""

from __future__ import annotations

import re
from typing import Any

_TYPE = b"content-type"
_JSON = (_TYPE, b"application/json")
# What FastAPI reads as JSON by itself.
_IS_JSON = re.compile(rb"application/(?:json|[^;\s]*\+json)\s*(?:;.*)?", re.I | re.S)
_PATH = re.compile(
    r"/v2/(?:models/[^/]+(?:/versions/[^/]+)?/(?:infer|generate)(?:_stream)?|repository/index)"
)


class JsonBodies:
    """ASGI middleware in front of MLServer's REST application."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and _PATH.fullmatch(scope["path"]):
            said = next((value for name, value in scope["headers"] if name == _TYPE), b"")
            if not _IS_JSON.fullmatch(said):
                others = [header for header in scope["headers"] if header[0] != _TYPE]
                scope["headers"] = [*others, _JSON]
        await self._app(scope, receive, send)
