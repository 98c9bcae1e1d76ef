"""The part of the control API that takes secrets in, lists them and drops them.

Bodies are read here and not by FastAPI, whose refusals repeat what they refuse. Nothing that is answered or logged here
holds what is in a secret.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from overbook.artifacts.secrets.advice import advice
from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.parsing import parse_secret
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.rclone.in_secrets import refuse_local
from overbook.artifacts.sources.rclone.sections import Unwritable
from overbook.manifests.names import checked_secret_name
from overbook.scheduler import bodies, secret_bodies, secrets_in
from overbook.scheduler.actor import Actor
from overbook.scheduler.answers import answered, errors
from overbook.scheduler.errors import Invalid
from overbook.scheduler.state import State
from overbook.scheduler.status import moment
from overbook.scheduler.surveyor import Surveyor

log = logging.getLogger(__name__)

_BODY: Final = "SecretBody"
_REQUEST: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_BODY}"}}},
    }
}


def with_body(schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas of OpenAPI with the one that FastAPI does not know of, since it does not read it."""
    body = TypeAdapter(secret_bodies.SecretBody).json_schema() | {
        "required": [],
        "anyOf": [{"required": ["text"]}, {"required": ["name", "type"]}],
        "additionalProperties": False,
    }
    return dict(sorted((schemas | {_BODY: body}).items()))


def secrets(actor: Actor, surveyor: Surveyor) -> APIRouter:
    """The calls below `/api/v1/secrets`."""
    router = APIRouter(prefix="/api/v1/secrets", tags=["secrets"])

    @router.get("", response_model=list[secret_bodies.SecretObject])
    async def list_secrets() -> Response:
        """All secrets that are stored are listed by name, without what is in them."""
        state = actor.state
        users = secrets_in.users(state)
        found: list[secret_bodies.SecretObject] = [
            {
                "name": name,
                "type": None if stored.remote is None else stored.remote.type,
                "updated": moment(stored.updated),
                "usedBy": users.get(name, []),
                "problem": stored.trouble or None,
            }
            for name, stored in sorted(state.secrets.items())
        ]
        return answered(found)

    @router.put("/{name}", responses=errors(409, 503), openapi_extra=_REQUEST)
    async def set_secret(name: str, request: Request) -> bodies.DoneAnswer:
        """The secret is stored, sealed, in place of what had its name; agents that are connected are told of it.

        What could not be fetched without it is tried again. `warnings` say which words in it are probably mistyped.
        """
        remote = _remote(_checked(name), await _body(request))
        await actor.set_secret(remote)
        log.info("secret %s was set", name)
        # There may be models at whose files nobody could look for want of it.
        surveyor.wake()
        return {"warnings": advice(remote)}

    @router.delete("/{name}", responses=errors(404, 503))
    async def delete_secret(name: str) -> bodies.DoneAnswer:
        """The secret is gone, here and in all agents; `warnings` name the models that still name it."""

        async def remove(state: State, now: float) -> list[str]:
            return secrets_in.remove(state, name)

        warnings = await actor.submit(remove)
        log.info("secret %s was deleted", name)
        return {"warnings": warnings}

    return router


def _checked(name: str) -> str:
    try:
        return checked_secret_name(name)
    except ValueError as error:
        raise Invalid(f"name: {error}") from None


async def _body(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise Invalid("body: is no text; expected JSON in UTF-8") from None


def _remote(name: str, body: str) -> RemoteSecret:
    """Numbers stay as they are written, so it is the text that is read."""
    try:
        given: object = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    wrapped = given["text"] if isinstance(given, dict) and given.keys() == {"text"} else None
    try:
        remote = parse_secret(name, wrapped if isinstance(wrapped, str) else body)
        refuse_local(remote.type, remote.parameters)
    except SecretError as error:
        raise Invalid(str(error)) from None
    except Unwritable as error:
        raise Invalid(f"secret {name!r}: {error}") from None
    return remote
