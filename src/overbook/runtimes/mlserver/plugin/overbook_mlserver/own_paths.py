"""Paths that models define for themselves (``@custom_handler``), each reached by requests for its own model only.

Two models may define the same path, and gateways say which model a request is for, in a header or in the path. MLServer
would give it to whichever was loaded first, be it on its way out.
"""

from __future__ import annotations

from typing import Any

from mlserver.handlers import get_custom_handlers
from mlserver.model import MLModel
from mlserver.rest.app import APIRoute
from starlette.routing import Match

_HEADER = b"x-overbook-model"
_MODELS = "/v2/models/"


def add(app: Any, model: MLModel) -> None:
    """MLServer's own function that takes them away again finds these, too."""
    name = model.name

    class OwnPath(APIRoute):
        def matches(self, scope: Any) -> tuple[Match, Any]:
            return super().matches(scope) if _asked(scope) in ("", name) else (Match.NONE, {})

    for handler, method in get_custom_handlers(model):
        app.router.add_api_route(
            handler.rest_path,
            method,
            methods=[handler.rest_method],
            route_class_override=OwnPath,
        )


def _asked(scope: Any) -> str:
    """The model that the request is for, "" where nobody says so: somebody asks MLServer itself, or it looks for its
    own route.
    """
    if "headers" not in scope:
        return ""
    for name, value in scope["headers"]:
        if name == _HEADER:
            return str(value.decode("latin-1"))
    path: str = scope["path"]
    return path[len(_MODELS) :].partition("/")[0] if path.startswith(_MODELS) else ""
