"""The REST side of the calls that a Server may allow: routes for the application of `rest`, which words refusals."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from overbook.gateway.oip.asking import OverRest
from overbook.gateway.oip.errors import BadRequest
from overbook.gateway.oip.passed_on import Asked, PassedOn
from overbook.gateway.oip.repository import RepositoryControl
from overbook.gateway.oip.surface import REST, Call
from overbook.runtimes.server_kinds import REPOSITORY
from overbook.wire.limits import MAX_OWN_BODY

_NAMES: Final = ("MODEL", "VERSION", "REGION", "REPOSITORY")
_JSON: Final = "application/json"
_Endpoint = Callable[[Request], Awaitable[Response]]


def allowed_routes(passed: PassedOn, control: RepositoryControl) -> list[Route]:
    """A route for each of them."""
    return [
        Route(
            _pattern(call.path),
            _controlled(control, call) if call.allow == REPOSITORY else _passed(passed, call),
            methods=[call.method],
        )
        for call in REST
        if call.allow
    ]


def _pattern(path: str) -> str:
    for name in _NAMES:
        path = path.replace(name, f"{{{name.lower()}}}")
    return path


def _passed(passed: PassedOn, call: Call) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        path, name = request.scope["raw_path"].decode("ascii", "replace"), ""
        parts = path.split("/")
        if "model" in request.path_params:
            # Triton does not decode what is percent-encoded.
            name = parts[3] = request.path_params["model"]
            path = "/".join(parts)
        elif "region" in request.path_params:
            name = parts[4]  # as it was sent, since Triton takes it so
        body = await _body(request)
        reply = await passed.answer(Asked(call, OverRest(call.method, path, body), name))
        return Response(reply.body, reply.http, headers={"content-type": reply.content_type})

    return endpoint


def _controlled(control: RepositoryControl, call: Call) -> _Endpoint:
    act = control.load if call.path.endswith("/load") else control.unload

    async def endpoint(request: Request) -> Response:
        await act(request.path_params["model"], _parameters(await _body(request)))
        return Response(media_type=_JSON)

    return endpoint


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_OWN_BODY:
            raise BadRequest(
                f"body is larger than {MAX_OWN_BODY} bytes; expected less: settings, a region, or no parameters"
            )
    return bytes(body)


def _parameters(body: bytes) -> Collection[str]:
    """The names of the parameters in the body of a load or unload."""
    if not body.strip():
        return ()
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest('body is not JSON; expected nothing or {"parameters": {}}') from None
    parameters = document.get("parameters", {}) if isinstance(document, dict) else None
    if not isinstance(parameters, dict):
        raise BadRequest('body must be an object, and its "parameters" one as well')
    return parameters
