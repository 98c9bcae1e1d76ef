"""Who asks the gateway's own endpoints, and what is not there for them: models that their token may not use.

A caller is known by the header that came with the request, and looked up anew for every model: a token that was revoked
in the middle of a stream may use nothing from then on. What a caller may not use looks as what nobody registered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import Final, Protocol, TypeVar

import grpc
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from overbook.access.roles import Role, may
from overbook.access.tokens import Token
from overbook.gateway.oip.errors import NotAllowed
from overbook.gateway.oip.ports import AllowedView, CatalogueView, Entry, ServerAddress
from overbook.gateway.snapshot.names import TOKEN_HEADER
from overbook.runtimes.server_kinds import SHARED_MEMORY

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_HEADER: Final = "authorization"
# Of the request that is being answered: as long as its task runs.
_shown: ContextVar[str | None] = ContextVar("shown", default=None)


class AccessView(Protocol):
    """Who may do what, as the gateway knows it now. Calls are cheap and never wait."""

    @property
    def asked(self) -> bool:
        """Whether tokens are asked for at all."""
        ...

    def who(self, header: str | None) -> Token | None:
        """Whose token the header shows, if it holds."""
        ...


class KnownCallers:
    """An ASGI application and a gRPC interceptor that note who asks."""

    @staticmethod
    def over_rest(app: ASGIApp) -> ASGIApp:
        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            noted = _shown.set(Headers(scope=scope).get(_HEADER) if "headers" in scope else None)
            try:
                await app(scope, receive, send)
            finally:
                _shown.reset(noted)

        return noting

    @staticmethod
    def over_grpc() -> grpc.aio.ServerInterceptor:
        return _Noting()


class _Noting(grpc.aio.ServerInterceptor):
    """A call's task is the one that looks for its handler."""

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails],
            Awaitable[grpc.RpcMethodHandler[_Request, _Response] | None],
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        shown = dict(handler_call_details.invocation_metadata or ()).get(_HEADER)
        _shown.set(shown if isinstance(shown, str) else None)
        return await continuation(handler_call_details)


class VisibleModels:
    """The catalogue as the caller may see it."""

    def __init__(self, catalogue: CatalogueView, access: AccessView) -> None:
        self._catalogue = catalogue
        self._access = access

    def models(self) -> Iterable[str]:
        if not self._access.asked:
            return self._catalogue.models()
        token = self._access.who(_shown.get())
        if token is None:
            return ()
        return [name for name in self._catalogue.models() if _may_use(token, name)]

    def find(self, name: str) -> Entry | None:
        return self._catalogue.find(name) if self.may_use(name) else None

    def kind(self, name: str) -> str:
        return self._catalogue.kind(name) if self.may_use(name) else ""

    def marks(self) -> tuple[tuple[str, str], ...]:
        """Metadata by which our own listeners hear whose call it is, where not any number of that token's may wait."""
        token = self._access.who(_shown.get()) if self._access.asked else None
        return () if token is None or token.waiting is None else ((TOKEN_HEADER, token.name),)

    def may_use(self, name: str) -> bool:
        """Whether the caller may use a model of this name, if there is one."""
        if not self._access.asked:
            return True
        token = self._access.who(_shown.get())
        return token is not None and _may_use(token, name)


class PermittedCalls:
    """What Servers allow, for callers who may: who operates, and for shared memory who may use all models."""

    def __init__(self, allowed: AllowedView, access: AccessView) -> None:
        self._allowed = allowed
        self._access = access

    def words(self) -> Iterable[str]:
        return self._allowed.words()

    def servers(self, word: str) -> Sequence[ServerAddress | None]:
        """Raises NotAllowed."""
        if self._access.asked:
            self._check(word)
        return self._allowed.servers(word)

    def forbidding(self, model: str, word: str) -> Sequence[str]:
        return self._allowed.forbidding(model, word)

    def _check(self, word: str) -> None:
        token = self._access.who(_shown.get())
        needed = Role.INFER if word == SHARED_MEMORY else Role.OPERATOR
        if token is None or not may(token.role, needed):
            raise NotAllowed(
                f"authorization: calls of this kind ({word}) need a token whose role is {needed}"
            )
        if token.models:
            # A region has no owner: who may look at one may look at all.
            raise NotAllowed(
                f"authorization: calls of this kind ({word}) need a token for all models"
            )


def _may_use(token: Token, model: str) -> bool:
    return may(token.role, Role.INFER) and token.may_use(model)
