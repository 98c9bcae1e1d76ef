"""Follows the scheduler's catalogue for ever, and tells it how far this gateway has followed.

The word counts: the scheduler answers people once it has it. A new model is known here as soon as the catalogue has it,
for every request that is not sent to a server directly is looked up there. A deleted one may have direct routes, so
the word waits until Envoy has acknowledged that they are gone. Nobody else waits for that: while Envoy is away, the
catalogue goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final, Protocol

import grpc

from overbook.gateway.access import Access
from overbook.gateway.catalogue import Catalogue
from overbook.gateway.errors import EnvoyUnavailable, SnapshotRejected
from overbook.gateway.router import Router
from overbook.gateway.token_uses import TokenUses
from overbook.gateway.xds import Feed
from overbook.wire import scheduler_pb2, scheduler_pb2_grpc
from overbook.wire.in_process import connect
from overbook.wire.peers import Peers, reason

_log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.5
# For which Envoy is waited in one go.
_ACK_SECONDS: Final = 10.0
# Between two words on which tokens were used.
_USES_SECONDS: Final = 10.0


class _Watch(Protocol):
    """What is used of the stream once it has begun."""

    async def write(self, message: scheduler_pb2.WatchCatalogueRequest) -> None: ...


class Following:
    """``target``: the scheduler's; ``gateway``: what people know this gateway by; ``peers``: how parts know each other
    at ports.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        router: Router,
        feed: Feed,
        access: Access,
        uses: TokenUses,
        *,
        target: str,
        gateway: str,
        peers: Peers | None,
    ) -> None:
        self._catalogue = catalogue
        self._access = access
        self._uses = uses
        self._router = router
        self._feed = feed
        self._target = target
        self._peers = peers
        self._gateway = gateway
        # The newest revision of the catalogue that is to be confirmed, and of the feed that Envoy must have for it.
        self._taken = 0
        self._needed = 0
        self._news = asyncio.Event()
        catalogue.on_models = self._models_changed

    async def run(self) -> None:
        """Until cancelled, reconnecting when the scheduler was away."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._collect_uses(), name="collect uses")
            await self._follow()

    async def _follow(self) -> None:
        told = False
        async with connect(self._target, self._peers) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            while True:
                call = stub.WatchCatalogue()
                self._taken = 0  # each stream has numbers of its own
                try:
                    await call.write(scheduler_pb2.WatchCatalogueRequest(gateway=self._gateway))
                    async with asyncio.TaskGroup() as group:
                        watch = _Turns(call)
                        telling = (
                            group.create_task(self._confirm(watch), name="confirm"),
                            group.create_task(self._tell_uses(watch), name="tell uses"),
                        )
                        async for update in call:
                            self._take(update)
                        for each in telling:
                            each.cancel()
                except* (grpc.aio.AioRpcError, asyncio.InvalidStateError) as errors:
                    # Once: it may be away for long, or not have begun yet.
                    level = logging.WARNING if self._taken or not told else logging.INFO
                    told = True
                    words = "scheduler %s: %s; keeping the last catalogue"
                    _log.log(level, words, self._target, _said(errors))
                finally:
                    call.cancel()
                await asyncio.sleep(_RETRY_SECONDS)

    def _models_changed(self, models: Collection[str]) -> None:
        self._needed = max(self._needed, self._router.registrations_changed(models))

    def _take(self, update: scheduler_pb2.CatalogueUpdate) -> None:
        if update.HasField("access"):
            # Before the models, which may be there for some only.
            self._needed = max(self._needed, self._access.take(update.access))
        self._catalogue.apply(update)
        if update.revision:
            self._taken = update.revision
            self._news.set()

    async def _confirm(self, watch: _Watch) -> None:
        """What came while Envoy was waited for is confirmed together."""
        while True:
            await self._news.wait()
            self._news.clear()
            taken, needed = self._taken, self._needed
            try:
                await self._feed.wait_acked(needed, _ACK_SECONDS)
            except EnvoyUnavailable as error:
                _log.warning("the catalogue is not in force: %s; waiting on", error)
                self._news.set()
                continue
            except SnapshotRejected as error:
                # It may or may not have taken routes away: only the next change that it accepts will tell.
                _log.error("the catalogue is not in force: %s", error)
                continue
            await watch.write(scheduler_pb2.WatchCatalogueRequest(heard=taken))

    async def _collect_uses(self) -> None:
        """Also while the scheduler is away: what is noted takes memory until it is read."""
        while True:
            await asyncio.sleep(_USES_SECONDS)
            self._uses.collect()

    async def _tell_uses(self, watch: _Watch) -> None:
        """Which tokens were used. What is lost with a stream is noted again when they are used again."""
        while True:
            await asyncio.sleep(_USES_SECONDS)
            if used := self._uses.take():
                message = scheduler_pb2.WatchCatalogueRequest(used=used)
                await watch.write(message)


class _Turns:
    """The stream for more than one who writes."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._turn = asyncio.Lock()

    async def write(self, message: scheduler_pb2.WatchCatalogueRequest) -> None:
        async with self._turn:
            await self._watch.write(message)


def _said(errors: BaseExceptionGroup[Exception]) -> str:
    """The first, in few words."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return reason(error) if isinstance(error, grpc.aio.AioRpcError) else str(error)
