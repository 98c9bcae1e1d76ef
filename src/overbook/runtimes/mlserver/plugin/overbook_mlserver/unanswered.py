"""Tells answers that no model gave from what a model says itself.

A gateway repeats a request whose model was not here, since it was evicted on the way. A model that answers 404 or
NOT_FOUND has run: asking it again would make it run twice. So answers for a model that is not here bear a mark, and
no model's answer can.
"""

from __future__ import annotations

from typing import Any

from mlserver.errors import MLServerError, ModelNotFound
from mlserver.rest.errors import handle_mlserver_error
from mlserver.types import InferenceResponse

# What gateways look for; they take it away before the client sees it.
HEADER = "x-overbook-unanswered"
MARK = (HEADER.encode(), b"1")


_LOWEST, _HIGHEST = 400, 599


class NotHere(ModelNotFound):
    """The registry has no such model."""


async def answer(request: Any, error: MLServerError) -> Any:
    """What MLServer answers over REST, marked. A handler of exceptions."""
    response = await handle_mlserver_error(request, error)
    response.headers[HEADER] = "1"
    return response


async def own_error(request: Any, error: MLServerError) -> Any:
    """What MLServer answers when a model raises, with a status that is one: others break the connection, and a request
    whose connection broke is sent again.
    """
    if not isinstance(error.status_code, int) or not _LOWEST <= error.status_code <= _HIGHEST:
        error.status_code = 500
    return await handle_mlserver_error(request, error)


def of(error: BaseException | None) -> list[tuple[bytes, bytes]]:
    """The headers that an answer for this error needs besides."""
    return [MARK] if isinstance(error, NotHere) else []


def unmarked(response: InferenceResponse) -> InferenceResponse:
    """A model's answer without the mark, should it have set that."""
    parameters = response.parameters
    headers = getattr(parameters, "headers", None)
    if headers:
        parameters.headers = {
            name: value for name, value in headers.items() if name.lower() != HEADER
        }
    return response
