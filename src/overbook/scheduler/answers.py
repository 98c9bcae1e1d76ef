"""How the control API writes what it answers.

Large answers are written here and not by FastAPI, which would check every field of every model once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Scope

from overbook.manifests.problems import shown
from overbook.scheduler import bodies

# That of a call, with two names of 253 characters in it.
_LONGEST_PATH: Final = 600
_LONGEST_METHOD: Final = 20
_ERRORS: Final = {
    400: "The request is wrong: correct it.",
    401: "Tokens are asked for, and none was shown that is valid: show one.",
    403: "The token's role is not enough, or the request was sent for a web page that is not let in.",
    404: "There is no such object.",
    409: "The object's state forbids it: change that first.",
    408: "The body took too long: send it again.",
    413: "The body is too large.",
    415: "The body is said to be something else than JSON.",
    421: "The API is not called so: see `--allowed-hosts`.",
    429: "Too much at once: try again after as many seconds as `Retry-After` says.",
    503: "Not now: an agent or the disk is in the way. Try again.",
}


# Said of any call, before anything else is looked at.
OF_ALL: Final = (403, 421)
# And of those that not everybody may make.
OF_STRANGERS: Final = 401
# Said of the body of any call that changes something, before the call is known.
OF_BODIES: Final = (400, 408, 413, 415, 429)


def refusal(why: str, code: int, *, retry_after: int | None = None) -> Response:
    """``retry_after``: seconds."""
    body: bodies.ErrorAnswer = {"error": why}
    answer = answered(body, code)
    if retry_after is not None:
        answer.headers["retry-after"] = str(retry_after)
    return answer


def told_call(scope: Scope) -> str:
    """Method and path of a request as they appear in a message: short, always one line."""
    path: str = scope["path"]
    told = path if len(path) <= _LONGEST_PATH and path.isprintable() else shown(path)
    return f"{scope['method'][:_LONGEST_METHOD]} {told}"


def answered(body: object, code: int = 200) -> Response:
    return json_response(encoded(body), code)


def encoded(body: object) -> bytes:
    try:
        return to_json(body)
    except ValueError:
        # People's text may hold what JSON can say and UTF-8 cannot; in ASCII it can be said.
        return json.dumps(body).encode()


def json_response(text: bytes, code: int = 200) -> Response:
    return Response(text, code, media_type="application/json")


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {
        code: {"model": bodies.ErrorAnswer, "description": _ERRORS[code]} for code in sorted(codes)
    }


def described_with(responses: Mapping[str, Any], codes: Iterable[int]) -> dict[str, Any]:
    """The answers of a call in OpenAPI, with these refusals too, in order."""
    schema = {"$ref": "#/components/schemas/ErrorAnswer"}
    more = {
        str(code): {
            "description": _ERRORS[code],
            "content": {"application/json": {"schema": schema}},
        }
        for code in codes
    }
    return dict(sorted((more | dict(responses)).items()))
