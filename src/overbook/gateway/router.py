"""Keeps Envoy's clusters equal to what the agents say is hot, and says when Envoy has heard.

The one writer of `places` and of the cluster feed. Decides no residency: agents say what is hot and
what is to be withdrawn; activation says which cold place a request may go to. Nor which hot model is worth a mark:
`newcomers` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from overbook.gateway.errors import EnvoyUnavailable
from overbook.gateway.grants import Grants
from overbook.gateway.newcomers import Newcomers
from overbook.gateway.own_routes import OwnRoutes
from overbook.gateway.places import Place, Places
from overbook.gateway.snapshot import clusters
from overbook.gateway.snapshot.clusters import Endpoint, Fallback
from overbook.gateway.snapshot.names import PlaceCount, Protocol, place_cluster, place_key
from overbook.gateway.xds import Feed

_log = logging.getLogger(__name__)

# Clusters of cold places are kept for their return, but not many: each costs Envoy memory.
_COLD_PLACES_KEPT: Final = 256
_ACK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class ServerAddresses:
    """Where a replica's inference server is, "unix:/path" or "host:port".

    ``infer``: its endpoint for unary inference of both protocols over HTTP/1.1; empty: it has none.
    ``counts_requests``: it tells its agent when nothing of a model is in flight, but for streams.
    """

    rest: str
    grpc: str
    infer: str = ""
    counts_requests: bool = False

    def of(self, protocol: Protocol) -> Endpoint:
        if self.infer and protocol is not Protocol.STREAM:
            return Endpoint(self.infer, http2=False, keeps_connections=True, marks_unanswered=True)
        if protocol is Protocol.REST:
            return Endpoint(self.rest, http2=False, keeps_connections=False)
        return Endpoint(
            self.grpc, http2=True, keeps_connections=True, marks_unanswered=bool(self.infer)
        )


class Router:
    """Hot places, their clusters and marks. ``is_registered``: a model that is not has no direct route, however hot."""

    def __init__(
        self,
        feed: Feed,
        fallback: Fallback,
        own_routes: OwnRoutes,
        is_registered: Callable[[str], bool],
    ) -> None:
        self._feed = feed
        self._is_registered = is_registered
        self._own_routes = own_routes
        self._fallback = fallback
        self._addresses: dict[str, ServerAddresses] = {}
        self._down: set[str] = set()
        self._address_known = asyncio.Condition()
        self._marks: dict[str, list[str]] = {}
        self._newcomers = Newcomers()
        # With which revision Envoy has what was last said about a model, until it has it.
        self._said: dict[str, int] = {}
        self.places: Final = Places()
        self.grants: Final = Grants()

    def hot_models(self, replica: str) -> set[str]:
        """Models to which requests on this replica may go without asking its agent."""
        return {place.model for place in self.places.of_replica(replica) if place.hot}

    async def set_address(self, replica: str, addresses: ServerAddresses) -> None:
        """The inference server is (again) there: its clusters lead to the new address."""
        self._down.discard(replica)
        if self._addresses.get(replica) != addresses:
            self._addresses[replica] = addresses
            for place in self.places.of_replica(replica):
                for protocol in list(place.clusters):
                    self._publish(place, protocol, addresses)
                self._own_routes.level(place.model, self._only_endpoint(place.model))
        async with self._address_known:
            self._address_known.notify_all()

    def set_down(self, replica: str) -> None:
        """The inference server is not there. Its clusters stay: connecting fails, and the fallback takes over."""
        self._down.add(replica)

    def address(self, replica: str) -> ServerAddresses | None:
        """Where the replica's inference server can be asked now; None: nowhere."""
        return None if replica in self._down else self._addresses.get(replica)

    def is_down(self, replica: str) -> bool:
        """Whether the replica's agent said that its inference server is not there."""
        return replica in self._down

    async def open(
        self, model: str, replica: str, protocol: Protocol, *, now: float, timeout: float
    ) -> str:
        """Make sure that Envoy can reach the place, and return its cluster's name.

        Raises EnvoyUnavailable when the address is unknown or Envoy has not heard in time.
        """
        addresses = self._addresses.get(replica)
        if addresses is None:
            addresses = await self._wait_address(replica, timeout)
        place = self.places.claim(model, replica)
        if place is None:
            raise EnvoyUnavailable(
                f"model {model}: on more replicas than the gateway can tell apart"
            )
        place.granted_at = now
        if protocol not in place.clusters:
            self._publish(place, protocol, addresses)
            self._level(model)
        await self._feed.wait_acked(place.clusters[protocol], timeout)
        return place_cluster(protocol, model, place.slot)

    def ready_cluster(
        self, model: str, replica: str, protocol: Protocol, *, now: float
    ) -> str | None:
        """As `open`, when there is nothing to wait for; else None."""
        place = self.places.find(model, replica)
        if place is None or replica not in self._addresses:
            return None
        revision = place.clusters.get(protocol)
        if revision is None or revision > self._feed.acked or self._feed.refusal(revision):
            return None
        place.granted_at = now
        return place_cluster(protocol, model, place.slot)

    def grant(self, model: str, replica: str, protocol: Protocol, now: float) -> None:
        """A request is let through to the place now."""
        if protocol is not Protocol.STREAM:
            self.grants.add(replica, model)
        place = self.places.find(model, replica)
        if place is not None:
            place.granted_at = now
            place.tally.grant()
            if self._newcomers.grant(model):
                self._level(model)

    def take_back(self, cluster: str) -> None:
        """A request that was let through to this cluster comes again, since one of Envoy's workers did not have it."""
        found = place_key(cluster)
        place = None if found is None else self.places.by_key(found[1])
        if found is not None and place is not None:
            place.tally.take_back()
            if found[0] is not Protocol.STREAM:
                self.grants.take_back(place.replica, place.model)

    def is_counted(self, place: Place) -> bool:
        """Whether the inference server itself knows of all requests that are in flight at the place."""
        addresses = self._addresses.get(place.replica)
        return (
            addresses is not None
            and addresses.counts_requests
            and Protocol.STREAM not in place.clusters
        )

    def is_hot(self, model: str, replica: str) -> bool:
        """Whether requests may go to the place without asking its agent."""
        place = self.places.find(model, replica)
        return place is not None and place.hot

    def make_hot(self, replica: str, models: Iterable[str]) -> None:
        """Requests for these models may go to this replica; directly as soon as they are worth it.

        A protocol over which nobody has asked for a model yet costs no clusters: its first request
        takes the cold path, where no agent is asked about a hot model.
        """
        if replica not in self._addresses:
            # An agent whose server is not up yet says that nothing is hot.
            if any(True for _ in models):
                _log.warning("replica %s: told of hot models before its address; ignored", replica)
            return
        for model in models:
            place = self.places.claim(model, replica)
            if place is not None and not place.hot:
                place.hot = True
                if model not in self._marks and model not in self._own_routes:
                    self._newcomers.come(model)
                self._level(model)

    async def withdraw(self, replica: str, models: Iterable[str]) -> None:
        """Take the direct routes away; returns when Envoy has acknowledged.

        Raises EnvoyUnavailable when it does not, SnapshotRejected when it would not.
        """
        models = list(models)
        self._cool(replica, models)
        # Also what was not hot: an earlier removal may not be acknowledged yet.
        revision = max((self._said.get(model, 0) for model in models), default=0)
        await self._feed.wait_acked(revision, _ACK_SECONDS)

    def registrations_changed(self, models: Collection[str]) -> int:
        """These models were registered or deleted. Returns the revision with which Envoy routes accordingly.

        What agents said of them stands: a model that is registered again is as hot as it was.
        """
        for model in models:
            if self.places.of_model(model):
                self._level(model)
        return max((self._said.get(model, 0) for model in models), default=0)

    def drained(self, model: str, replica: str) -> None:
        """Nothing is in flight there any more, after it was withdrawn."""
        place = self.places.find(model, replica)
        if place is not None and not place.hot:
            place.direct = False

    def forget_hot(self, replica: str, keep: Collection[str] = ()) -> None:
        """Take direct routes of this replica away without waiting, except those to keep."""
        self._cool(replica, self.hot_models(replica).difference(keep))

    def forget_replica(self, replica: str) -> None:
        """The replica is gone for good: drop its places and clusters."""
        self.forget_hot(replica)
        for place in self.places.of_replica(replica):
            self._remove(place)
        self._addresses.pop(replica, None)
        self._down.discard(replica)
        self.grants.forget(replica)

    def collect(self, counts: Mapping[tuple[str, int], PlaceCount], now: float) -> None:
        """Marks for who has stayed; no clusters of cold places beyond those worth keeping, if nothing is in flight."""
        for model in self._newcomers.settle(now):
            self._level(model)
        self._said = {
            model: revision for model, revision in self._said.items() if revision > self._feed.acked
        }
        active = {key: count.active for key, count in counts.items() if count.active}
        self._own_routes.review(now, self._only_endpoint, active)
        cold = self.places.cold()
        for place in cold[: max(0, len(cold) - _COLD_PLACES_KEPT)]:
            if not active.get(place.key):
                self._remove(place)

    async def _wait_address(self, replica: str, timeout: float) -> ServerAddresses:
        try:
            async with asyncio.timeout(timeout), self._address_known:
                await self._address_known.wait_for(lambda: replica in self._addresses)
        except TimeoutError:
            raise EnvoyUnavailable(
                f"replica {replica}: its inference server has no address yet"
            ) from None
        return self._addresses[replica]

    def _publish(self, place: Place, protocol: Protocol, addresses: ServerAddresses) -> None:
        place.clusters[protocol] = self._feed.put(
            clusters.place(
                name=place_cluster(protocol, place.model, place.slot),
                model=place.model,
                endpoint=addresses.of(protocol),
                fallback=self._fallback,
            )
        )

    def _cool(self, replica: str, models: Iterable[str]) -> None:
        for model in models:
            place = self.places.find(model, replica)
            if place is not None:
                place.hot = False
                self._level(model)
                if not any(each.hot for each in self.places.of_model(model)):
                    self._newcomers.leave(model)

    def _level(self, model: str) -> None:
        """Make clusters and marks of a model what its places say."""
        before = self._feed.revision
        protocols = self.places.protocols(model)
        for place in self.places.of_model(model):
            addresses = self._addresses.get(place.replica)
            if place.hot and addresses is not None:
                for protocol in protocols - place.clusters.keys():
                    self._publish(place, protocol, addresses)
        direct = model not in self._newcomers and self._is_registered(model)
        wanted = self.places.marks(model) if direct else []
        held = self._marks.get(model, ())
        for name in wanted:
            if name not in held:
                # Until then requests take the cold path, where no agent is asked about a hot model.
                self._feed.put(clusters.mark(name), can_wait=True)
        for name in held:
            if name not in wanted:
                self._feed.remove(name)
        if wanted:
            self._marks[model] = wanted
            for place in self.places.of_model(model):
                place.direct = place.direct or place.hot
        else:
            self._marks.pop(model, None)
        self._own_routes.level(model, self._only_endpoint(model))
        if self._feed.revision != before:
            self._said[model] = self._feed.revision

    def _only_endpoint(self, model: str) -> Endpoint | None:
        """Where all direct traffic over REST goes, None when that is nowhere or to several places."""
        hot = [place for place in self.places.of_model(model) if place.hot]
        if (
            model in self._newcomers
            or not self._is_registered(model)
            or len(hot) != 1
            or hot[0].slot
            or Protocol.REST not in hot[0].clusters
        ):
            return None
        addresses = self._addresses.get(hot[0].replica)
        return None if addresses is None else addresses.of(Protocol.REST)

    def _remove(self, place: Place) -> None:
        for protocol in place.clusters:
            self._feed.remove(place_cluster(protocol, place.model, place.slot))
        self.places.drop(place)
