"""How the control API writes what it answers.

Large answers are written here and not by FastAPI, which would check every field of every model once more.
"""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import Response
from pydantic_core import to_json

from overbook.scheduler import bodies

_ERRORS: Final = {
    400: "The request is wrong: correct it.",
    404: "There is no such object.",
    409: "The object's state forbids it: change that first.",
    413: "The body is too large.",
    503: "Not now: an agent or the disk is in the way. Try again.",
}


def refusal(why: str, code: int) -> Response:
    answer: bodies.ErrorAnswer = {"error": why}
    return answered(answer, code)


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
