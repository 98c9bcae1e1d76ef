"""A gateway's way out: clients are asked to go elsewhere, and it is known when the last one has its answer.

By Envoy's own counters at the edge, so that everything counts that a client waits for: hot requests, requests that wait
for a model, streams, and bytes of answers that are still on their way. No residency and no timing of the whole stop
here: who drains decides how long.
"""

from __future__ import annotations

import asyncio
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import EnvoyUnavailable
from overbook.gateway.snapshot.names import EDGE_STATS_REGEX, EdgeCount, parse_edge_stats

# New connections are accepted until nothing runs any more, so that load balancers notice and nobody is turned away; but
# so long at least, and so long at most, as some never notice. A connection that the kernel has and Envoy has not
# accepted when it closes its listener is reset. Seconds.
_NOTICE_SECONDS: Final = 0.5
_LONGEST_NOTICE_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.05
# Of a new connection Envoy may not have read the request yet: it must be seen idle so often in a row.
_LOOKS: Final = 2
# For refusals to reach clients; seconds.
_TOLD_SECONDS: Final = 0.3


class Leaving:
    """``admin``: a connection of its own. ``running``: requests at the last look."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self.running = 0

    async def drain(self) -> None:
        """Until nobody waits for an answer any more. Envoy may be away meanwhile: then all is said again."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = closed = False
        idle = 0
        while not closed or idle < _LOOKS:
            try:
                if not asked:
                    await self._admin.say_unhealthy()
                    asked = True
                count = await self._look()
                idle = 0 if count.requests or count.bytes else idle + 1
                noticed = loop.time() - began
                if not closed and noticed >= (_NOTICE_SECONDS if idle else _LONGEST_NOTICE_SECONDS):
                    await self._admin.stop_accepting()
                    closed, idle = True, 0
            except EnvoyUnavailable:
                asked, closed, idle = False, False, 0
            await asyncio.sleep(_POLL_SECONDS)

    async def wait_told(self) -> None:
        """Until all clients have their answers, such as refusals, for a moment at most."""
        try:
            async with asyncio.timeout(_TOLD_SECONDS):
                count = await self._look()
                while count.requests or count.bytes:
                    await asyncio.sleep(_POLL_SECONDS)
                    count = await self._look()
        except (TimeoutError, EnvoyUnavailable):
            return

    async def close(self) -> None:
        """Hang up. Safe to repeat."""
        await self._admin.close()

    async def _look(self) -> EdgeCount:
        count = parse_edge_stats(await self._admin.stats(f"^{EDGE_STATS_REGEX}$"))
        self.running = count.requests
        return count
