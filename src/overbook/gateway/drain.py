"""Says when nothing is in flight at a place any more, by Envoy's counters. One scrape serves all places that drain.

For inference servers that do not count their requests themselves. Counts only what Envoy has now: whoever waits must
have taken the route away, and had that acknowledged, before. Where requests come by the gateway's leave only, their
number tells whether Envoy has counted all of them, and if it has, counters that were read for another reason serve as
well. No residency decisions here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import EnvoyUnavailable
from overbook.gateway.places import Place
from overbook.gateway.snapshot.names import PlaceCount, drain_filter, parse_place_stats

_POLL_SECONDS: Final = 0.004
_ENVOY_AWAY_SECONDS: Final = 0.05
# Where some requests came past the gateway, numbers tell nothing: a request that the activation service has let
# through so recently may not be counted yet.
_GRANT_SECONDS: Final = 0.02
# Else a request that is not counted after so long never will be: its client has left. Of many that are let through in
# one moment a busy Envoy has not counted the last for as long as it needs for all of them.
_MISSING_SECONDS: Final = 1.0
_MISSING_SECONDS_EACH: Final = 0.002
_NOTHING: Final = PlaceCount()

Counts = Mapping[tuple[str, int], PlaceCount]


class DrainWatch:
    """Waiters by place. `run` scrapes while somebody waits, and sleeps otherwise."""

    def __init__(self, admin: Admin, now: Callable[[], float]) -> None:
        self._admin = admin
        self._now = now
        self._waiting: dict[asyncio.Future[None], Place] = {}
        self._wanted = asyncio.Event()
        self._seen: Counts = {}

    def see(self, counts: Counts) -> None:
        """All counters, read for another reason."""
        self._seen = counts

    async def wait_idle(self, place: Place) -> None:
        """Until no request is in flight at the place: by a scrape that began after this call, or one that has all
        requests that can have gone there.
        """
        if not place.direct and _all_ended(place, self._seen):
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
                began = self._now()
                try:
                    text = await self._admin.stats(
                        drain_filter(sorted({place.key for place in asked.values()}))
                    )
                except EnvoyUnavailable:
                    await asyncio.sleep(_ENVOY_AWAY_SECONDS)
                    continue
                counts = parse_place_stats(text)
                for future, place in asked.items():
                    if _is_idle(place, counts, began) and not future.done():
                        place.tally.settle(counts.get(place.key, _NOTHING).total)
                        future.set_result(None)
                # Who came meanwhile has not been asked about yet, and need not wait.
                news = self._waiting.keys() - asked.keys()
                await asyncio.sleep(_POLL_SECONDS if self._waiting and not news else 0)


def _is_idle(place: Place, counts: Counts, began: float) -> bool:
    """By a scrape that began at ``began``."""
    if _all_ended(place, counts) and not place.direct:
        return True
    count = counts.get(place.key, _NOTHING)
    missing = _MISSING_SECONDS + _MISSING_SECONDS_EACH * place.tally.uncounted(count.total)
    unsure = _GRANT_SECONDS if place.direct else missing
    return not count.active and place.granted_at <= began - unsure


def _all_ended(place: Place, counts: Counts) -> bool:
    """Whether Envoy counted all requests that were let through to the place, and none is there any more."""
    count = counts.get(place.key, _NOTHING)
    return not count.active and place.tally.all_counted(count.total)
