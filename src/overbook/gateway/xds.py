"""The xDS server: tells Envoy which clusters, routes and secrets exist, incrementally (delta ADS), and when it
has heard.

Holds serialisable resources by type and name, and a revision number; decides nothing about them. One push is
outstanding at a time; what changes meanwhile goes together in the next, clusters before routes that may lead to
them. So a burst costs few pushes, and a change costs the same however many clusters there are.

Envoy may refuse a resource, and keeps what it had of it. It says so of a whole push, of which it took the rest. So what
was refused is pushed again in halves, until it is known which resource it is: whoever waits for that one is told,
and nobody else.

A push costs Envoy and us the same with one change in it or with ten. So a change without which all goes right, if
not as fast, goes along with the next that cannot wait, if there is one soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from overbook.gateway.errors import EnvoyUnavailable, SnapshotRejected
from overbook.metrics import XDS_PUSH_SECONDS

_log = logging.getLogger(__name__)

CLUSTER_TYPE: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
SECRET_TYPE: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
ROUTE_TYPE: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
# Of one message: a full sync of thousands of clusters is sent in pieces.
_PIECE: Final = 1000
# A change that can wait is held back so long.
_COMPANY_SECONDS: Final = 0.02

_TYPES: Final = (SECRET_TYPE, CLUSTER_TYPE, ROUTE_TYPE)

_Key: TypeAlias = tuple[str, str]
_Resource: TypeAlias = cluster_pb2.Cluster | route_pb2.RouteConfiguration | secret_pb2.Secret
_Request: TypeAlias = discovery_pb2.DeltaDiscoveryRequest


@dataclass(slots=True)
class _Envoy:
    """One Envoy's stream. ``fresh``: the types it asked for, True until they are answered, even with nothing."""

    replies: asyncio.Queue[_Request | None] = field(default_factory=asyncio.Queue)
    fresh: dict[str, bool] = field(default_factory=dict)
    gone: bool = False


class Feed:
    """What Envoy should have, and how far it has followed. Serves one Envoy at a time."""

    def __init__(self) -> None:
        self._wanted: dict[_Key, discovery_pb2.Resource] = {}
        # Names to send by type, in the order of their changes: an endpoint's cluster goes before its mark.
        self._dirty: dict[str, OrderedDict[str, None]] = {type_: OrderedDict() for type_ in _TYPES}
        self._revision = 0
        self._sent = 0
        self._acked = 0
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        # What Envoy would not have, the revision it was of, and why.
        self._refused: dict[_Key, tuple[int, str]] = {}
        self._waiters: list[tuple[int, float, asyncio.Future[None]]] = []

    @property
    def revision(self) -> int:
        """The newest revision, acknowledged or not."""
        return self._revision

    @property
    def acked(self) -> int:
        """The revision that Envoy has acknowledged, but for what it refused."""
        return self._acked

    def refusal(self, revision: int) -> str:
        """Why Envoy refused the resource that was put with this revision; "" when it did not."""
        found = (why for refused, why in self._refused.values() if refused == revision)
        return next(found, "")

    @property
    def size(self) -> int:
        """How many clusters Envoy should have."""
        return sum(type_ == CLUSTER_TYPE for type_, _ in self._wanted)

    def __contains__(self, cluster: str) -> bool:
        return (CLUSTER_TYPE, cluster) in self._wanted

    def put(self, message: _Resource, *, can_wait: bool = False) -> int:
        """Add or replace a cluster, a route configuration or a secret. Returns the revision to wait for.

        ``can_wait``: for other changes, but not when somebody waits for it.
        """
        type_ = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
        self._revision += 1
        resource = discovery_pb2.Resource(name=message.name, version=str(self._revision))
        resource.resource.type_url = type_
        resource.resource.value = message.SerializeToString()
        self._wanted[type_, message.name] = resource
        return self._touch(type_, message.name, urgent=not can_wait)

    def remove(self, cluster: str) -> int:
        """Take a cluster away. Returns the revision to wait for; unknown names change nothing."""
        if cluster not in self:
            return self._revision
        self._revision += 1
        del self._wanted[CLUSTER_TYPE, cluster]
        return self._touch(CLUSTER_TYPE, cluster, urgent=True)

    async def wait_acked(self, revision: int, timeout: float) -> None:
        """Until Envoy has acknowledged this revision.

        Raises EnvoyUnavailable after ``timeout`` seconds, SnapshotRejected when Envoy refused what was put with it.
        """
        if revision <= self._acked:
            if why := self.refusal(revision):
                raise SnapshotRejected(f"Envoy refused a change: {why}")
            return
        if revision > self._sent:
            self._urgent.set()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append((revision, loop.time(), future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            raise EnvoyUnavailable(
                f"xDS: Envoy has not acknowledged a change within {timeout:.1f} s"
            ) from None

    def _touch(self, type_: str, name: str, *, urgent: bool) -> int:
        dirty = self._dirty[type_]
        dirty[name] = None
        dirty.move_to_end(name)
        self._changed.set()
        if urgent:
            self._urgent.set()
        return self._revision

    async def StreamAggregatedResources(  # noqa: N802  the name is gRPC's
        self,
        requests: AsyncIterator[discovery_pb2.DiscoveryRequest],
        context: grpc.aio.ServicerContext[
            discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse
        ],
    ) -> None:
        """The service's other method, which our Envoy is not told to use."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "only changes are sent: delta ADS")

    async def DeltaAggregatedResources(  # noqa: N802  the name is gRPC's
        self,
        requests: AsyncIterator[_Request],
        context: grpc.aio.ServicerContext[_Request, discovery_pb2.DeltaDiscoveryResponse],
    ) -> AsyncIterator[discovery_pb2.DeltaDiscoveryResponse]:
        """One Envoy, from its connection until it hangs up."""
        envoy = _Envoy()
        reading = asyncio.create_task(self._collect(requests, envoy), name="xds requests")
        try:
            nonce = 0
            while True:
                await self._changed.wait()
                if envoy.gone:
                    return
                self._changed.clear()
                if CLUSTER_TYPE not in envoy.fresh:
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_COMPANY_SECONDS):
                        await self._urgent.wait()
                self._urgent.clear()
                revision = self._sent = self._revision
                pushes = deque(self._take(envoy.fresh))
                while pushes:
                    type_, names = pushes.popleft()
                    nonce += 1
                    response = self._response(type_, names, nonce)
                    yield response
                    said = await _verdict(envoy.replies, nonce)
                    if said is None:
                        return
                    if said and len(names) > 1:
                        middle = len(names) // 2
                        pushes.extendleft(((type_, names[middle:]), (type_, names[:middle])))
                    else:
                        self._note(response, said)
                self._acknowledge(revision)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _collect(self, requests: AsyncIterator[_Request], envoy: _Envoy) -> None:
        """Sort answers from first requests. With one of these Envoy says what it still has of a type."""
        try:
            async for request in requests:
                type_ = request.type_url
                if request.response_nonce:
                    envoy.replies.put_nowait(request)
                elif type_ in _TYPES and type_ not in envoy.fresh:
                    envoy.fresh[type_] = True
                    known = set(request.initial_resource_versions)
                    ours = [name for each, name in self._wanted if each == type_]
                    self._dirty[type_] = OrderedDict.fromkeys([*ours, *known.difference(ours)])
                    self._push_now()
                    continue
                if type_ in envoy.fresh:
                    self._asked(type_, request.resource_names_subscribe)
        finally:
            envoy.gone = True
            envoy.replies.put_nowait(None)
            self._push_now()

    def _asked(self, type_: str, names: Iterable[str]) -> None:
        """What Envoy asks for after its first request; it would not have taken that before."""
        new = [name for name in names if (type_, name) in self._wanted]
        if new:
            self._dirty[type_].update(dict.fromkeys(new))
            self._push_now()

    def _push_now(self) -> None:
        self._changed.set()
        self._urgent.set()

    def _take(self, fresh: dict[str, bool]) -> list[tuple[str, list[str]]]:
        """What is to be sent now, in pieces."""
        taken: list[tuple[str, list[str]]] = []
        for type_ in _TYPES:
            if type_ not in fresh:
                continue
            names, self._dirty[type_] = list(self._dirty[type_]), OrderedDict()
            pieces = [names[at : at + _PIECE] for at in range(0, len(names), _PIECE)]
            taken += [(type_, piece) for piece in (pieces or [[]] * fresh[type_])]
            fresh[type_] = False
        return taken

    def _response(
        self, type_: str, names: list[str], nonce: int
    ) -> discovery_pb2.DeltaDiscoveryResponse:
        wanted = self._wanted
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_,
            nonce=str(nonce),
            resources=[wanted[type_, name] for name in names if (type_, name) in wanted],
            removed_resources=[name for name in names if (type_, name) not in wanted],
        )

    def _note(self, response: discovery_pb2.DeltaDiscoveryResponse, error: str) -> None:
        """What was said of one resource, or that all of them were taken."""
        for resource in response.resources:
            key = (response.type_url, resource.name)
            if error:
                _log.error("Envoy refused %s, and keeps what it had: %s", resource.name, error)
                self._refused[key] = int(resource.version), error
            else:
                self._refused.pop(key, None)
        for name in response.removed_resources:
            self._refused.pop((response.type_url, name), None)
            if error:
                _log.error("Envoy would not let go of %s: %s", name, error)

    def _acknowledge(self, revision: int) -> None:
        self._acked = max(self._acked, revision)
        now = asyncio.get_running_loop().time()
        later: list[tuple[int, float, asyncio.Future[None]]] = []
        for waited, since, future in self._waiters:
            if waited > revision:
                later.append((waited, since, future))
            elif not future.done():
                XDS_PUSH_SECONDS.observe(now - since)
                if error := self.refusal(waited):
                    future.set_exception(SnapshotRejected(f"Envoy refused a change: {error}"))
                else:
                    future.set_result(None)
        self._waiters = later


async def _verdict(replies: asyncio.Queue[_Request | None], nonce: int) -> str | None:
    """What Envoy says of one push: why it refuses it, or nothing. None when it hung up before."""
    while (reply := await replies.get()) is not None:
        if reply.response_nonce == str(nonce):
            if reply.HasField("error_detail"):
                return reply.error_detail.message or "no reason given"
            return ""
    return None
