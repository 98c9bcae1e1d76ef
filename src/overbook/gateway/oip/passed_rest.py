"""The REST side of the calls that a Server may allow: routes for the application of `rest`, which words refusals."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from overbook.gateway.oip.asking import OverRest
from overbook.gateway.oip.errors import BadRequest, NoSuchCall
from overbook.gateway.oip.own_body import own_body
from overbook.gateway.oip.passed_on import Asked, PassedOn
from overbook.gateway.oip.repository import RepositoryControl
from overbook.gateway.oip.surface import REST, Call
from overbook.runtimes.server_kinds import REPOSITORY

_NAMES: Final = ("MODEL", "VERSION", "REGION", "REPOSITORY")
# What stands in a path as it is, beside letters, digits and "-._~"; the client library would decode it.
_PLAIN: Final = "!$&'()*+,;=:@"
_JSON: Final = "application/json"
_EXPECTED: Final = "less: settings, a region, or no parameters"
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
        names = request.path_params
        # Triton takes a region's name as it stands in the path.
        name = names.get("model", "") or _encoded(names.get("region", ""))
        path = _path(call, names)
        body = await own_body(request, _EXPECTED)
        reply = await passed.answer(Asked(call, OverRest(call.method, path, body), name))
        return Response(reply.body, reply.http, headers={"content-type": reply.content_type})

    return endpoint


def _path(call: Call, names: Mapping[str, str]) -> str:
    """Made anew, as what was sent may be read in two ways. Raises NoSuchCall."""
    if not {".", ".."}.isdisjoint(names.values()):
        raise NoSuchCall(f"no such endpoint: {call.path} without a name in it")
    parts = call.path.split("/")
    return "/".join(_encoded(names[each.lower()]) if each in _NAMES else each for each in parts)


def _encoded(name: str) -> str:
    return quote(name, safe=_PLAIN)


def _controlled(control: RepositoryControl, call: Call) -> _Endpoint:
    act = control.load if call.path.endswith("/load") else control.unload

    async def endpoint(request: Request) -> Response:
        await act(request.path_params["model"], _parameters(await own_body(request, _EXPECTED)))
        return Response(media_type=_JSON)

    return endpoint


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
