"""How what goes wrong in a call of the control API is answered: one line of JSON, with the code of its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from overbook.manifests.problems import field_name, shown
from overbook.scheduler.answers import refusal, told_call
from overbook.scheduler.errors import (
    Conflict,
    Invalid,
    NotFound,
    SchedulerError,
    TooMany,
    Unavailable,
)

_CODES: Final[tuple[tuple[type[SchedulerError], int], ...]] = (
    (Invalid, 400),
    (NotFound, 404),
    (Conflict, 409),
    (TooMany, 429),
    (Unavailable, 503),
)
_NO_SUCH_METHOD: Final = 405


def answer_errors(app: FastAPI) -> None:
    """From now on the application answers all that is raised in it so."""
    app.add_exception_handler(SchedulerError, _scheduler_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


async def _scheduler_error(request: Request, error: Exception) -> Response:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), 503)
    return refusal(str(error), code, retry_after=1 if code == 429 else None)


async def _invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    lines = []
    for each in error.errors()[:3]:
        where = field_name(tuple(step for step in each["loc"] if step != "body")) or "body"
        if each["type"] == "value_error":
            lines.append(f"{where}: {each['ctx']['error']}")
        else:
            lines.append(f"{where}: {shown(each.get('input'))}: {each['msg']}")
    return refusal("; ".join(lines), 400)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == _NO_SUCH_METHOD:
        allowed = ", ".join(_methods(request))
        answer = refusal(f"{told_call(request.scope)}: expected {allowed}; see /docs", 405)
        answer.headers["allow"] = allowed
        return answer
    text = f"{told_call(request.scope)}: {error.detail}; see /docs"
    return refusal(text, error.status_code)


def _methods(request: Request) -> list[str]:
    """Those that there are for the path. Starlette tells those of the first route alone that has it."""
    described = cast("FastAPI", request.app).openapi()["paths"]
    steps = request.url.path.split("/")
    found = [
        method.upper()
        for path, methods in described.items()
        if _is_one_of(steps, path.split("/"))
        for method in methods
    ]
    return sorted(found) or ["GET"]


def _is_one_of(steps: Sequence[str], described: Sequence[str]) -> bool:
    return len(steps) == len(described) and all(
        each == step or each.startswith("{") for step, each in zip(steps, described, strict=True)
    )
