"""The xDS server: tells Envoy which clusters exist, incrementally (delta ADS), and when it has heard.

Holds serialisable resources by name and a revision number; decides nothing about them. One push is
outstanding at a time; what changes meanwhile goes together in the next. So a burst costs few pushes,
and a change costs the same however many clusters there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from typing import Final

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from overbook.gateway.errors import EnvoyUnavailable, SnapshotRejected
from overbook.metrics import XDS_PUSH_SECONDS

_log = logging.getLogger(__name__)

CLUSTER_TYPE: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
# Of one message: a full sync of thousands of clusters is sent in pieces.
_PIECE: Final = 1000


class ClusterFeed(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # untyped
    """What Envoy should have, and how far it has followed. Serves one Envoy at a time."""

    def __init__(self) -> None:
        self._wanted: dict[str, discovery_pb2.Resource] = {}
        # Names to send, in the order of their changes: an endpoint's cluster goes before its mark.
        self._dirty: OrderedDict[str, None] = OrderedDict()
        self._revision = 0
        self._acked = 0
        self._changed = asyncio.Event()
        self._waiters: list[tuple[int, float, asyncio.Future[None]]] = []

    @property
    def revision(self) -> int:
        """The newest revision, acknowledged or not."""
        return self._revision

    @property
    def size(self) -> int:
        """How many clusters Envoy should have."""
        return len(self._wanted)

    def __contains__(self, name: str) -> bool:
        return name in self._wanted

    def put(self, cluster: cluster_pb2.Cluster) -> int:
        """Add or replace a cluster. Returns the revision to wait for."""
        self._revision += 1
        resource = discovery_pb2.Resource(name=cluster.name, version=str(self._revision))
        resource.resource.type_url = CLUSTER_TYPE
        resource.resource.value = cluster.SerializeToString()
        self._wanted[cluster.name] = resource
        return self._touch(cluster.name)

    def remove(self, name: str) -> int:
        """Take a cluster away. Returns the revision to wait for; unknown names change nothing."""
        if name not in self._wanted:
            return self._revision
        self._revision += 1
        del self._wanted[name]
        return self._touch(name)

    async def wait_acked(self, revision: int, timeout: float) -> None:
        """Until Envoy has acknowledged this revision.

        Raises EnvoyUnavailable after ``timeout`` seconds, SnapshotRejected when Envoy refused it.
        """
        if revision <= self._acked:
            return
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

    def _touch(self, name: str) -> int:
        self._dirty[name] = None
        self._dirty.move_to_end(name)
        self._changed.set()
        return self._revision

    async def DeltaAggregatedResources(  # noqa: N802  the name is gRPC's
        self,
        requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest],
        context: grpc.aio.ServicerContext[
            discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse
        ],
    ) -> AsyncIterator[discovery_pb2.DeltaDiscoveryResponse]:
        """One Envoy, from its connection until it hangs up."""
        replies: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest | None] = asyncio.Queue()
        reading = asyncio.create_task(_collect(requests, replies), name="xds acknowledgements")
        try:
            first = await replies.get()
            while first is not None and first.type_url != CLUSTER_TYPE:
                first = await replies.get()
            if first is None:
                return
            nonce = 0
            known = set(first.initial_resource_versions)
            for names, revision in self._full_sync(known):
                nonce += 1
                yield self._response(names, nonce)
                if not await self._settle(replies, nonce, revision):
                    return
            while await self._wait_change(reading):
                names, revision = list(self._dirty), self._revision
                self._dirty.clear()
                self._changed.clear()
                nonce += 1
                yield self._response(names, nonce)
                if not await self._settle(replies, nonce, revision):
                    return
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    def _full_sync(self, known: Iterable[str]) -> list[tuple[list[str], int]]:
        """Pieces of a first sync; only the last one brings Envoy up to the revision."""
        names = [*self._wanted, *(set(known) - self._wanted.keys())]
        self._dirty.clear()
        self._changed.clear()
        pieces = [names[at : at + _PIECE] for at in range(0, len(names), _PIECE)] or [[]]
        revisions = [self._acked] * (len(pieces) - 1) + [self._revision]
        return list(zip(pieces, revisions, strict=True))

    def _response(self, names: list[str], nonce: int) -> discovery_pb2.DeltaDiscoveryResponse:
        wanted = self._wanted
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=CLUSTER_TYPE,
            nonce=str(nonce),
            resources=[wanted[name] for name in names if name in wanted],
            removed_resources=[name for name in names if name not in wanted],
        )

    async def _wait_change(self, reading: asyncio.Task[None]) -> bool:
        """True when there is something to send, False when Envoy hung up."""
        changed = asyncio.create_task(self._changed.wait(), name="xds change")
        try:
            await asyncio.wait({changed, reading}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        return not reading.done()

    async def _settle(
        self,
        replies: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest | None],
        nonce: int,
        revision: int,
    ) -> bool:
        """Wait for the verdict on one push. False when Envoy hung up before it."""
        while (reply := await replies.get()) is not None:
            if reply.type_url == CLUSTER_TYPE and reply.response_nonce == str(nonce):
                error = reply.error_detail.message if reply.HasField("error_detail") else None
                if error is not None:
                    _log.error("Envoy refused a cluster: %s", error)
                self._acknowledge(revision, error)
                return True
        return False

    def _acknowledge(self, revision: int, error: str | None) -> None:
        self._acked = max(self._acked, revision)
        now = asyncio.get_running_loop().time()
        later: list[tuple[int, float, asyncio.Future[None]]] = []
        for waited, since, future in self._waiters:
            if waited > revision:
                later.append((waited, since, future))
            elif not future.done():
                XDS_PUSH_SECONDS.observe(now - since)
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(SnapshotRejected(f"Envoy refused a cluster: {error}"))
        self._waiters = later


async def _collect(
    requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest],
    replies: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest | None],
) -> None:
    try:
        async for request in requests:
            replies.put_nowait(request)
    finally:
        replies.put_nowait(None)
