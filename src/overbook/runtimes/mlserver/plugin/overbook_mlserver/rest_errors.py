"""What MLServer's REST application answers when one of its endpoints raises, for calls that do not pass through it."""

from __future__ import annotations

from typing import Any

from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from overbook_mlserver.failures import Failures


class RestErrors:
    """``app``: the application whose handlers of errors are used."""

    def __init__(self, app: Any) -> None:
        handlers = dict(app.exception_handlers)
        server_error = handlers.pop(500, None) or handlers.pop(Exception, None)
        self._app = ServerErrorMiddleware(
            Failures(ExceptionMiddleware(_raise, handlers=handlers, debug=app.debug)),
            handler=server_error,
            debug=app.debug,
        )

    async def answer(self, scope: Any, receive: Any, send: Any, error: Exception) -> None:
        scope["overbook.error"] = error
        await self._app(scope, receive, send)


async def _raise(scope: Any, receive: Any, send: Any) -> None:
    raise scope["overbook.error"]
