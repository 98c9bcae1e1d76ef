"""Usage by place from Envoy's own counters: requests, in flight. No request passes through here.

Scrapes often while traffic flows and seldom while it does not. What changed goes to the agents and
into the metrics.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from overbook.gateway.admin import Admin
from overbook.gateway.errors import EnvoyUnavailable
from overbook.gateway.places import Place
from overbook.gateway.snapshot.names import PLACE_STATS_REGEX, PlaceCount, parse_place_stats
from overbook.metrics import REQUESTS

BUSY_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 1.0
# A scrape may take this share of the time, however many places there are: it takes Envoy's time and ours
# from the requests.
_COST_SHARE: Final = 0.02
# Who leaves memory is decided by what is known of use: on a busy machine, where every scrape takes long, it must not
# grow old.
_LONGEST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What is new at one place since the last scrape."""

    place: Place
    in_flight: int
    requests: int


class UsageBook:
    """Pure: turns ever-growing counters into changes, and tells hot requests from the others."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], PlaceCount] = {}
        self._explained: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[tuple[str, int], PlaceCount]:
        """Of the last scrape, by place."""
        return self._last

    def explain(self, model: str, attempts: int) -> None:
        """So many attempts at this model's places are no hot requests: they are counted elsewhere."""
        self._explained[model] += attempts

    def take_in(
        self, counts: dict[tuple[str, int], PlaceCount]
    ) -> list[tuple[tuple[str, int], int, int]]:
        """New counters → (place key, in flight, new attempts) of every place that changed."""
        changes = []
        for key, count in counts.items():
            last = self._last.get(key)
            # Counters of an Envoy (or a cluster) that started again begin at zero.
            before = last.total if last is not None and last.total <= count.total else 0
            new = count.total - before
            if new or last is None or last.active != count.active:
                changes.append((key, count.active, new))
        for key, last in self._last.items():
            if key not in counts and last.active:
                changes.append((key, 0, 0))
        self._last = counts
        return changes

    def hot_share(self, model: str, attempts: int) -> int:
        """How many of these new attempts were hot requests."""
        explained = min(attempts, self._explained[model])
        self._explained[model] -= explained
        if not self._explained[model]:
            del self._explained[model]
        return attempts - explained


class UsageMeter:
    """Scrapes Envoy until cancelled. ``report`` gets what changed, ``scraped`` all counts and since when they are true,
    in the loop's seconds.
    """

    def __init__(
        self,
        admin: Admin,
        *,
        find: Callable[[tuple[str, int]], Place | None],
        report: Callable[[Sequence[Usage]], None],
        scraped: Callable[[Mapping[tuple[str, int], PlaceCount], float], None],
    ) -> None:
        self._admin = admin
        self._find = find
        self._report = report
        self._scraped = scraped
        self._poked = asyncio.Event()
        self.book: Final = UsageBook()

    def poke(self) -> None:
        """There is traffic: do not wait as long as in idle times."""
        self._poked.set()

    async def run(self) -> None:
        """Scrape until cancelled."""
        pause = BUSY_SECONDS
        loop = asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                try:
                    moved = await self._scrape()
                except EnvoyUnavailable:
                    moved = False
                cost = loop.time() - began
                pause = BUSY_SECONDS if moved else min(IDLE_SECONDS, pause * 1.5)
                await self._sleep(max(pause, min(_LONGEST_SECONDS, cost / _COST_SHARE)))
        finally:
            await self._admin.close()

    async def _sleep(self, seconds: float) -> None:
        if seconds <= BUSY_SECONDS:
            await asyncio.sleep(seconds)
            return
        self._poked.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._poked.wait()
            await asyncio.sleep(BUSY_SECONDS)
        except TimeoutError:
            pass

    async def _scrape(self) -> bool:
        began = asyncio.get_running_loop().time()
        counts = parse_place_stats(await self._admin.stats(f"^{PLACE_STATS_REGEX}$"))
        changes = self.book.take_in(counts)
        usages = []
        for key, in_flight, attempts in changes:
            if hot := self.book.hot_share(key[0], attempts):
                REQUESTS.labels(key[0], "hot").inc(hot)
            place = self._find(key)
            if place is not None:
                usages.append(Usage(place, in_flight, attempts))
        if usages:
            self._report(usages)
        self._scraped(self.book.counts, began)
        return bool(changes)
