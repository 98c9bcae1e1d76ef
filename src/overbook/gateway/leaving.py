"""How a gateway leaves: it is not ready from then on, takes no new connections, and answers the requests that it has.

Envoy closes each connection after its next answer, so that clients go elsewhere. Whoever stops the gateway bounds how
long that may take; what is ended after that is ended with Envoy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import EnvoyUnavailable
from overbook.gateway.oip.ports import ServersView

_LOOK_SECONDS: Final = 0.05
_REASON: Final = "it is stopping"


class Leaving:
    """Also what readiness sees of the ``servers``: none once the gateway leaves."""

    def __init__(self, admin: Admin, servers: ServersView) -> None:
        self._admin = admin
        self._servers = servers
        self._began = False

    def down(self) -> Mapping[str, str]:
        return {"gateway": _REASON} if self._began else self._servers.down()

    def up(self) -> Iterable[str]:
        return () if self._began else self._servers.up()

    async def drain(self, grace: float, told: Callable[[int], None]) -> int:
        """Until no request runs, or for ``grace`` seconds. Returns how many run still.

        ``told``: how many do, again and again while it waits.
        """
        self._began = True
        running = 0
        try:
            await self._admin.stop_accepting()
            async with asyncio.timeout(grace):
                # Envoy tells nobody when a request ends: it must be asked.
                while running := await self._admin.running_requests():
                    told(running)
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            pass
        except EnvoyUnavailable:
            return 0  # it is not there, and has no request
        return running
