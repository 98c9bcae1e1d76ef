"""Answers 500 with the reason when a model raises, and keeps the connection.

MLServer leaves errors that are not of its own kinds to the web framework: "Internal Server Error" without a
reason (over gRPC the reason is told), and the connection is closed, on which a proxy may just have sent another
model's request.
"""

from __future__ import annotations

from typing import Any

import orjson
from mlserver.logging import logger

from overbook_mlserver.offload import describe


class Failures:
    """ASGI middleware around MLServer's REST application."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if begun:
                # Half an answer can only be told from a whole one by how the connection ends.
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            body = orjson.dumps({"error": describe(error)})
            size = str(len(body)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", size)]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": body})
