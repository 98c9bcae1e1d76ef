"""Says when nothing is in flight at a place any more. One scrape serves all places that drain.

Counts only what Envoy has now: whoever waits must have taken the route away, and had that
acknowledged, before. Where requests come by the gateway's leave only, and none has since Envoy's counters were last
read for another reason, these tell. No residency decisions here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import EnvoyUnavailable
from overbook.gateway.places import Place
from overbook.gateway.snapshot.names import active_filter, parse_place_stats

_POLL_SECONDS: Final = 0.004
_ENVOY_AWAY_SECONDS: Final = 0.05
# A request that the activation service has just let through may not be counted yet.
_GRANT_SECONDS: Final = 0.02


class DrainWatch:
    """Waiters by place. `run` scrapes while somebody waits, and sleeps otherwise."""

    def __init__(self, admin: Admin, now: Callable[[], float]) -> None:
        self._admin = admin
        self._now = now
        self._waiting: dict[asyncio.Future[None], Place] = {}
        self._wanted = asyncio.Event()
        self._active: Mapping[tuple[str, int], int] = {}
        self._seen_at = 0.0

    def see(self, active: Mapping[tuple[str, int], int], at: float) -> None:
        """All requests in flight by place, as of a scrape that began at ``at`` (seconds, as ``now``)."""
        self._active, self._seen_at = active, at

    async def wait_idle(self, place: Place) -> None:
        """Until no request is in flight at the place: by a scrape that began after this call, or after the last request
        that can have gone there.
        """
        if self._is_known_idle(place):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = place
        self._wanted.set()
        try:
            await future
        finally:
            self._waiting.pop(future, None)

    async def run(self) -> None:
        """Scrape while anybody waits, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                asked = dict(self._waiting)
                granted_before = self._now() - _GRANT_SECONDS
                try:
                    text = await self._admin.stats(
                        active_filter(sorted({place.key for place in asked.values()}))
                    )
                except EnvoyUnavailable:
                    await asyncio.sleep(_ENVOY_AWAY_SECONDS)
                    continue
                counts = parse_place_stats(text)
                for future, place in asked.items():
                    count = counts.get(place.key)
                    idle = count is None or count.active == 0
                    if idle and place.granted_at <= granted_before and not future.done():
                        future.set_result(None)
                # Who came meanwhile has not been asked about yet, and need not wait.
                news = self._waiting.keys() - asked.keys()
                await asyncio.sleep(_POLL_SECONDS if self._waiting and not news else 0)

    def _is_known_idle(self, place: Place) -> bool:
        return (
            not place.direct
            and place.granted_at <= self._seen_at - _GRANT_SECONDS
            and not self._active.get(place.key)
        )
