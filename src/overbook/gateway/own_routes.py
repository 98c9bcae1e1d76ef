"""Gives the busiest models routes of their own, which cost a request less than the script that looks for its cluster.

A route of its own leads to a cluster of its own, so what is hot and what is not is told as for all other models: by one
cluster, never by a change of the routes. Those change seldom, by what was asked for of late. Only for REST: over gRPC
the model's name is in the message, and only a script finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from envoy.config.route.v3 import route_pb2

from overbook.gateway.snapshot import clusters
from overbook.gateway.snapshot.asking import Asking
from overbook.gateway.snapshot.clusters import Endpoint, Fallback
from overbook.gateway.snapshot.names import own_cluster
from overbook.gateway.snapshot.routes import asking_routes, untold_routes
from overbook.gateway.xds import Feed

# Requests per second that make a model busy, and below which it is not any more.
BUSY: Final = 50.0
_CALM: Final = 10.0
# Envoy looks at one route after the other, so that each costs the requests of all models.
MOST: Final = 32
# Seconds over which requests are counted, and periods in a row in which a model must have been busy, or calm.
_PERIOD: Final = 1.0
_PERIODS: Final = 2
_PERIODS_CALM: Final = 30


class Busiest:
    """Pure: which models are the busiest, slow to change its mind."""

    def __init__(self) -> None:
        self._streaks: dict[str, int] = {}
        self.chosen: set[str] = set()

    def review(self, rates: Mapping[str, float], able: Callable[[str], bool]) -> None:
        """Once a period. ``rates``: requests per second; ``able``: whether a model may have a route of its own."""
        for model in list(self.chosen):
            calm = rates.get(model, 0.0) < _CALM
            self._streaks[model] = self._streaks.get(model, 0) + 1 if calm else 0
            if not able(model) or self._streaks[model] >= _PERIODS_CALM:
                self.chosen.remove(model)
                del self._streaks[model]
        waiting = {model: rate for model, rate in rates.items() if model not in self.chosen}
        busy = {model for model, rate in waiting.items() if rate >= BUSY and able(model)}
        for model in self._streaks.keys() - self.chosen - busy:
            del self._streaks[model]
        for model in sorted(busy, key=lambda each: -waiting[each]):
            self._streaks[model] = self._streaks.get(model, 0) + 1
            if self._streaks[model] >= _PERIODS and len(self.chosen) < MOST:
                self.chosen.add(model)
                self._streaks[model] = 0


class OwnRoutes:
    """The one writer of the data listener's routes. ``routes``: makes them, for these models."""

    def __init__(
        self,
        feed: Feed,
        fallback: Fallback,
        routes: Callable[[Sequence[str]], route_pb2.RouteConfiguration],
    ) -> None:
        self._feed = feed
        self._fallback = fallback
        self._routes = routes
        self._asking: Asking | None = None
        self._busiest = Busiest()
        self._asked: Counter[str] = Counter()
        self._since: float | None = None
        # Models with a cluster, and where it leads: None is the cold listener.
        self._led: dict[str, Endpoint | None] = {}
        # Without a route any more, and the revision with which Envoy knows that.
        self._leaving: dict[str, int] = {}
        self._told = False
        # With which Envoy asks, or does not.
        self._revision = feed.put(untold_routes())

    def __contains__(self, model: str) -> bool:
        return model in self._led

    def count(self, model: str, requests: int) -> None:
        """Requests at the place in slot 0, over any protocol."""
        self._asked[model] += requests

    def level(self, model: str, endpoint: Endpoint | None) -> None:
        """Where direct traffic for the model may go now; None: nowhere, or to several places."""
        if model in self._led and self._led[model] != endpoint:
            self._lead(model, endpoint)

    def review(
        self,
        now: float,
        endpoint_of: Callable[[str], Endpoint | None],
        active: Mapping[tuple[str, int], int],
    ) -> None:
        """Call it often: it acts once a period. ``active``: requests in flight by place."""
        self._since = now if self._since is None else self._since
        if now - self._since < _PERIOD:
            return
        seconds, self._since = now - self._since, now
        asked, self._asked = self._asked, Counter()
        before = set(self._busiest.chosen)
        self._busiest.review(
            {model: requests / seconds for model, requests in asked.items()},
            lambda model: endpoint_of(model) is not None,
        )
        chosen = self._busiest.chosen
        for model in chosen - before:
            self._leaving.pop(model, None)
            if model not in self._led:
                self._lead(model, endpoint_of(model))
        if chosen != before:
            revision = self._put()
            self._leaving.update(dict.fromkeys(before - chosen, revision))
        self._collect(active)

    def ask(self, asking: Asking | None) -> int:
        """Ask for tokens by these scripts, or of nobody. Returns the revision with which Envoy does."""
        if not self._told or asking != self._asking:
            self._told, self._asking = True, asking
            self._revision = self._put()
        return self._revision

    def _put(self) -> int:
        chosen = sorted(self._busiest.chosen)
        if not self._told:
            return self._feed.put(untold_routes())
        if self._asking is not None:
            return self._feed.put(asking_routes(self._asking, chosen))
        return self._feed.put(self._routes(chosen))

    def _lead(self, model: str, endpoint: Endpoint | None) -> None:
        self._led[model] = endpoint
        self._feed.put(
            clusters.own_withdrawn(model=model, fallback=self._fallback)
            if endpoint is None
            else clusters.own(model=model, endpoint=endpoint, fallback=self._fallback)
        )

    def _collect(self, active: Mapping[tuple[str, int], int]) -> None:
        """A cluster goes when no route leads to it any more, and nothing is in flight that might be tried again."""
        for model, revision in list(self._leaving.items()):
            known = self._feed.acked >= revision and not self._feed.refusal(revision)
            if known and not active.get((model, 0)):
                del self._leaving[model], self._led[model]
                self._feed.remove(own_cluster(model))
