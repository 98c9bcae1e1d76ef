"""The REST side of the OIP endpoints: a Starlette application, says only what ``answers`` decides."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from overbook.gateway.oip.answers import SERVER_NAME, Answers
from overbook.gateway.oip.configuration import Configurations
from overbook.gateway.oip.errors import (
    BadRequest,
    NoAnswer,
    NoSuchCall,
    NotAllowed,
    NotAvailable,
    UnknownModel,
    UnknownRegion,
)
from overbook.gateway.oip.own_body import own_body
from overbook.gateway.oip.statistics import Statistics
from overbook.gateway.oip.surface import REST, Call, Way

_MODEL: Final = "/v2/models/{name}"
_VERSION: Final = "/v2/models/{name}/versions/{version}"

_REPOSITORIES: Final = ("/v2/repository", "/v2/repository/{repository}")

_STATUS: Final[dict[type[Exception], int]] = {
    UnknownModel: 404,
    UnknownRegion: 404,
    NoSuchCall: 404,
    BadRequest: 400,
    NotAllowed: 403,
    NotAvailable: 503,
}
_Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(
    answers: Answers,
    statistics: Statistics,
    configurations: Configurations,
    more: Sequence[BaseRoute],
) -> Starlette:
    """The whole application. Every error has the protocol's form ``{"error": ...}``.

    ``more``: those of `passed_rest`, and what Envoy alone asks.
    """
    routes = [
        Route("/v2", _server_metadata(answers)),
        Route("/v2/", _server_metadata(answers)),
        Route("/v2/health/live", _fixed({"live": True})),
        Route("/v2/health/ready", _servers_ready(answers)),
        Route("/v2/models/stats", _all_statistics(statistics)),
        Route(_MODEL, _model_metadata(answers)),
        Route(_VERSION, _model_metadata(answers)),
        Route(f"{_MODEL}/ready", _model_ready(answers)),
        Route(f"{_VERSION}/ready", _model_ready(answers)),
        Route(f"{_MODEL}/config", _configuration(configurations)),
        Route(f"{_VERSION}/config", _configuration(configurations)),
        Route(f"{_MODEL}/stats", _statistics(statistics)),
        Route(f"{_VERSION}/stats", _statistics(statistics)),
        *(
            Route(f"{path}/index", _index(answers), methods=["GET", "POST"])
            for path in _REPOSITORIES
        ),
        *more,
        *(_refused(answers, call) for call in REST if Way.REFUSED in (call.mlserver, call.triton)),
    ]
    app = Starlette(
        routes=routes, exception_handlers={HTTPException: _framework_error, NoAnswer: _refusal}
    )
    app.router.redirect_slashes = False
    return app


def _fixed(body: dict[str, bool]) -> _Endpoint:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(body)

    return endpoint


def _servers_ready(answers: Answers) -> _Endpoint:
    async def endpoint(_: Request) -> Response:
        found = answers.servers()
        body: dict[str, object] = {"ready": found.ready}
        if found.down:
            # Clients look at the status only; this is for the person who runs curl.
            body["cannotServe"] = dict(sorted(found.down.items()))
        return JSONResponse(body, status_code=200 if found.ready else 503)

    return endpoint


def _server_metadata(answers: Answers) -> _Endpoint:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(
            {"name": SERVER_NAME, "version": answers.version, "extensions": answers.extensions}
        )

    return endpoint


def _model_metadata(answers: Answers) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params.get("version", "")
        return JSONResponse(await answers.metadata(name, version))

    return endpoint


def _model_ready(answers: Answers) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        name = request.path_params["name"]
        readiness = await answers.readiness(name, request.path_params.get("version", ""))
        if readiness.ready:
            return JSONResponse({"name": name, "ready": True})
        # Clients look at the status only; the body is for the person who runs curl.
        body = {"name": name, "ready": False, "error": readiness.reason}
        return JSONResponse(body, status_code=503)

    return endpoint


def _configuration(configurations: Configurations) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params.get("version", "")
        found = await configurations.find(name, version)
        return Response(found.json, media_type="application/json")

    return endpoint


def _statistics(statistics: Statistics) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params.get("version", "")
        return JSONResponse(await statistics.document(name, version))

    return endpoint


def _all_statistics(statistics: Statistics) -> _Endpoint:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(await statistics.all_documents())

    return endpoint


def _refused(answers: Answers, call: Call) -> Route:
    async def endpoint(_: Request) -> Response:
        raise answers.refuse(call)

    return Route(call.path, endpoint, methods=[call.method])


def _index(answers: Answers) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        ready_only = _ready_only(await own_body(request, '{} or {"ready": true}'))
        items = answers.index(ready_only=ready_only)
        return JSONResponse(
            [{"name": item.name, "state": item.state, "reason": item.reason} for item in items]
        )

    return endpoint


def _ready_only(body: bytes) -> bool:
    if not body.strip():
        return False
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest('body is not JSON; expected nothing or {"ready": true}') from None
    ready = document.get("ready", False) if isinstance(document, dict) else None
    if not isinstance(ready, bool):
        raise BadRequest('body must be an object whose field "ready" is true or false')
    return ready


async def _refusal(_: Request, error: Exception) -> Response:
    status = _STATUS[type(error)]
    return JSONResponse({"error": str(error)}, status_code=status)


async def _framework_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path, method = request.url.path, request.method
    message = {
        404: f"no such endpoint: {path}",
        405: f"method {method} is not allowed for {path}",
    }.get(error.status_code, error.detail)
    return JSONResponse({"error": message}, status_code=error.status_code, headers=error.headers)
