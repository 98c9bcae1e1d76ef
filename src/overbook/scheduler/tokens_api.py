"""The part of the control API that makes, lists and revokes tokens. A token is in one answer, and in no log."""

from __future__ import annotations

import logging
from typing import Final

from fastapi import APIRouter, Response

from overbook.access.minting import mint
from overbook.access.roles import Role
from overbook.access.tokens import Token
from overbook.scheduler import bodies, token_bodies, tokens_in
from overbook.scheduler.actor import Actor
from overbook.scheduler.answers import answered, errors
from overbook.scheduler.audit.calls import Change, Noted
from overbook.scheduler.state import State
from overbook.scheduler.status import moment
from overbook.scheduler.tokens_in import Wanted

_LOG: Final = logging.getLogger(__name__)


def tokens(actor: Actor) -> APIRouter:
    """The calls below `/api/v1/tokens`."""
    router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"])

    @router.get("", response_model=list[token_bodies.TokenObject])
    async def list_tokens() -> Response:
        """All tokens are listed by name, without what makes them tokens."""
        return answered([_object(each) for _, each in sorted(actor.state.tokens.items())])

    @router.post(
        "",
        response_model=token_bodies.NewToken,
        status_code=201,
        responses=errors(400, 409, 413, 503),
    )
    async def create_token(body: token_bodies.TokenBody, call: Noted) -> Response:
        """A token is made. It is shown in this answer and never again; gateways that are connected know it."""
        call.changes.append(Change("Token", body.name))
        wanted = Wanted(
            *(body.name, Role(body.role), tuple(body.models), body.expires_in),
            rate=body.requests_per_second,
            waiting=body.waiting,
        )
        text = mint()
        token = await actor.add_token(wanted, text)
        _LOG.info("token %s was made, with the role %s", token.name, token.role)
        answer: token_bodies.NewToken = {
            **_object(token),
            "token": text,
            "warnings": await actor.unheard(),
        }
        return answered(answer, 201)

    @router.delete("/{name}", responses=errors(404, 409, 503))
    async def revoke_token(name: str) -> bodies.DoneAnswer:
        """The token is void, here and in all gateways; `warnings` name those that may not know yet."""

        async def remove(state: State, now: float) -> list[str]:
            return tokens_in.remove(state, name, required=actor.tokens.always)

        warnings = await actor.submit(remove)
        _LOG.info("token %s was revoked", name)
        return {"warnings": [*warnings, *await actor.unheard()]}

    return router


def _object(token: Token) -> token_bodies.TokenObject:
    return {
        "name": token.name,
        "role": token.role.value,
        "models": list(token.models),
        "created": moment(token.created),
        "expires": None if token.expires is None else moment(token.expires),
        "lastUsed": moment(token.used) if token.used else None,
        "requestsPerSecond": token.rate,
        "waiting": token.waiting,
    }
