"""Asks callers of the control API for a token, once there is one, and notes who they are. ASGI middleware.

What a role may is `overbook.access.roles`'s to say. It is asked here, of every path, and never by those who answer.
"""

from __future__ import annotations

import logging
from typing import Final, Protocol

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from overbook.access.refusals import NO_TOKEN, too_low
from overbook.access.roles import may, needed
from overbook.access.tokens import Token
from overbook.scheduler import tokens_in
from overbook.scheduler.actor import Operation
from overbook.scheduler.answers import refusal
from overbook.scheduler.audit.calls import call_of
from overbook.scheduler.errors import SchedulerError
from overbook.scheduler.known_tokens import KnownTokens
from overbook.scheduler.state import State

_LOG: Final = logging.getLogger(__name__)
# Of a WebSocket that is refused: RFC 6455, section 7.4.1.
_POLICY_VIOLATION: Final = 1008


class TokenHolder(Protocol):
    """Whom it asks: the actor. ``tokens``: those that hold."""

    @property
    def tokens(self) -> KnownTokens: ...

    def now(self) -> float: ...

    async def submit(self, operation: Operation[None]) -> None: ...


class Authentication:
    def __init__(self, app: ASGIApp, actor: TokenHolder) -> None:
        self._app: Final = app
        self._actor = actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not self._actor.tokens.asked:
            call_of(scope).who = "anyone"
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # There are none, and whoever adds one has to ask.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        role = needed(scope["method"], scope["path"])
        if role is None:
            await self._app(scope, receive, send)
            return
        # Of two nobody could say which one counts: together they are none.
        shown = Headers(scope=scope).getlist("authorization")
        found = self._actor.tokens.who(", ".join(shown))
        if found is None:
            await _unknown()(scope, receive, send)
            return
        call = call_of(scope)
        call.who, call.token, call.role = "token", found.name, found.role.value
        if not may(found.role, role):
            await refusal(too_low(found.name, found.role, role), 403)(scope, receive, send)
        else:
            await self._note(found)
            await self._app(scope, receive, send)

    async def _note(self, token: Token) -> None:
        if not tokens_in.is_news(token, self._actor.now()):
            return

        async def note(state: State, now: float) -> None:
            tokens_in.note_use(state, token.name, now)

        try:
            await self._actor.submit(note)
        except SchedulerError as error:
            # Who reads must not fail because something cannot be written.
            _LOG.warning("the use of token %s was not noted: %s", token.name, error)


def _unknown() -> Response:
    answer = refusal(NO_TOKEN, 401)
    answer.headers["www-authenticate"] = "Bearer"
    return answer
