"""TLS of the connections to the control API: how many there may be before their handshake is done, and for how long.

Asyncio would do the handshakes of a server by itself, but counts nobody who is in one, and lets each take a minute: so
few could have all descriptors of the process. What is counted after it is `connections`' business.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from overbook.scheduler.web.connections import TOLD
from overbook.scheduler.web.limits import Limits

# Seconds for a client to take leave, whom nothing more is said.
_LEAVING: Final = 5.0


def encrypted(
    plain: type[H11Protocol], context: ssl.SSLContext, limits: Limits
) -> type[asyncio.Protocol]:
    """What uvicorn makes for each connection: ``plain`` behind a handshake. It takes the arguments of ``plain``, which
    are uvicorn's own.
    """
    # Those that are refused once they are made are told why.
    most = limits.connections + TOLD
    there: set[_Encrypted] = set()

    def made(**given: Any) -> _Encrypted:
        return _Encrypted(plain(**given), context, limits.idle_seconds, there, most)

    # Uvicorn only calls it.
    return cast("type[asyncio.Protocol]", cast("Callable[..., object]", made))


class _Encrypted(SSLProtocol):
    """``there``: all connections of the server, which are at most so many; others are cut without a word."""

    def __init__(
        self,
        app: H11Protocol,
        context: ssl.SSLContext,
        seconds: float,
        there: set[_Encrypted],
        most: int,
    ) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            app,
            context,
            # Nobody waits for it: None is what the library means, and not in the type that it declares.
            cast("asyncio.Future[None]", None),
            server_side=True,
            ssl_handshake_timeout=max(1, round(seconds)),
            ssl_shutdown_timeout=_LEAVING,
        )
        self._there = there
        self._most = most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What asyncio calls a transport may be of one direction; of a server's connection it never is.
        transport = cast("asyncio.Transport", transport)
        if len(self._there) >= self._most:
            transport.abort()
            return
        self._there.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._there.discard(self)
        super().connection_lost(exc)
