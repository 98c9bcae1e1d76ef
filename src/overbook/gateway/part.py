"""The gateway as one thing to run: wires its pieces, starts them in order, and says when it serves.

Decides nothing. The machine part runs `GatewayPart.run` (or uses `running_gateway`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc

from overbook.bounded_log import BoundedLog
from overbook.gateway.access import Access
from overbook.gateway.activation import ActivationService
from overbook.gateway.activator import Activator, ActivatorLimits
from overbook.gateway.admin import Admin
from overbook.gateway.agents import Agents, FollowPorts
from overbook.gateway.allowed import Allowed
from overbook.gateway.by_hand import ByHand
from overbook.gateway.catalogue import Catalogue
from overbook.gateway.certificates import Certificates
from overbook.gateway.drain import DrainWatch
from overbook.gateway.envoy import EnvoyProcess, EnvoySettings, check_port_free, find_program
from overbook.gateway.following import Following
from overbook.gateway.leaving import Leaving
from overbook.gateway.oip.server import OipServer, OipSettings
from overbook.gateway.own_routes import OwnRoutes
from overbook.gateway.questions import Questions
from overbook.gateway.request_log import NAME as REQUEST_LOG
from overbook.gateway.request_log import RequestLog
from overbook.gateway.router import Router
from overbook.gateway.scripts import read_asking, read_scripts, read_unanswered
from overbook.gateway.snapshot import bootstrap
from overbook.gateway.snapshot.asking import Asking
from overbook.gateway.snapshot.clusters import Fallback
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.gateway.snapshot.names import PlaceCount
from overbook.gateway.snapshot.routes import Scripts, data_routes
from overbook.gateway.token_clusters import TokenClusters
from overbook.gateway.token_uses import TokenUses
from overbook.gateway.usage import Usage, UsageMeter
from overbook.gateway.xds import Feed
from overbook.manifests.durations import LONGEST_WAIT
from overbook.tls.following import FollowedPair
from overbook.wire.channel import SERVER_OPTIONS
from overbook.wire.peers import Peers

_STOP_SECONDS = 1.0
# Of the time within which Envoy wants a request to be whole: then the answer to a stream begins.
_BEGIN_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """``run_dir``: for Unix sockets, a short path. ``scheduler_target``: a gRPC target.

    ``activation_timeout``: seconds for which a request waits for its model, where neither the model nor the client says
    otherwise. ``asks_always``: for a token, also before there is one. ``tls``: what clients are shown, None for a port
    without TLS; who made it keeps it followed. ``peers``: how it and other parts know each other at ports.
    """

    state_dir: Path
    run_dir: Path
    scheduler_target: str
    host: str
    port: int
    name: str = "gateway"
    activation_timeout: float = 60.0
    concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    limits: ActivatorLimits = field(default_factory=ActivatorLimits)
    edge: EdgeLimits = field(default_factory=EdgeLimits)
    asks_always: bool = False
    tls: FollowedPair | None = None
    peers: Peers | None = None


def _check(config: GatewayConfig) -> None:
    """Raises PortInUse, or ValueError when the configuration cannot work."""
    if not 0 < config.activation_timeout <= LONGEST_WAIT:
        raise ValueError(
            f"activation timeout: {config.activation_timeout:g} s; expected more than 0 and at most "
            f"{LONGEST_WAIT:g}"
        )
    check_port_free(config.host, config.port)


def _descriptors() -> int:
    """How many this process, and Envoy, may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _made(folder: Path, *more: Path) -> Path:
    """The first of these folders, all of which are there now."""
    for needed in (folder, *more):
        needed.mkdir(parents=True, exist_ok=True)
    return folder


class GatewayPart:
    """Runs until cancelled. ``serving`` is set once Envoy accepts clients.

    Constructing raises PortInUse when the port is taken, GatewayStartFailed or ValueError when the
    configuration cannot work; `run` raises GatewayStartFailed when Envoy does not start.
    """

    def __init__(self, config: GatewayConfig) -> None:
        _check(config)
        self._config = config
        self._sockets = bootstrap.Sockets.in_folder(config.run_dir)
        folder = _made(config.state_dir / "gateway", config.run_dir)
        self.serving = asyncio.Event()
        self.catalogue = Catalogue()
        self.feed = Feed()
        self._certificates = Certificates(config.tls, self.feed)
        self._oip: OipServer | None = None
        self.admin = Admin(self._sockets.admin)
        fallback, scripts = Fallback(read_unanswered()), read_scripts()
        self._own_routes = OwnRoutes(self.feed, fallback, partial(data_routes, scripts))
        self.router = Router(self.feed, fallback, self._own_routes, self.catalogue.__contains__)
        self._uses, now = TokenUses(), asyncio.get_running_loop().time
        self._token_clusters = TokenClusters(self.feed, now)
        always = config.asks_always
        self._access = Access(read_asking(), time.time, self._ask, self._uses, always=always)
        known = (self.catalogue, self.router, self.feed, self._access, self._uses)
        name, target = f"{socket.gethostname()}:{config.port}", config.scheduler_target
        self._following = Following(*known, target=target, gateway=name, peers=config.peers)
        self._drains = DrainWatch(self.admin, now)
        # A gateway that starts again counts from zero, and so it is another one.
        process = f"{config.name}.{secrets.token_hex(4)}"
        self._allowed = Allowed(self.catalogue, self.router)
        ports = FollowPorts(router=self.router, drains=self._drains, told_again=self._allowed.tell)
        self.agents = Agents(self.catalogue, process, ports, config.peers)
        self.catalogue.on_replicas = self._replicas_changed
        within = config.activation_timeout
        self._activator = Activator(
            catalogue=self.catalogue,
            agents=self.agents,
            router=self.router,
            limits=config.limits.within(_descriptors()),
            timeout=within,
            most_waiting=self._access.most_waiting,
            now=now,
        )
        self._by_hand = ByHand(self.catalogue, self.agents, self.router, timeout=within)
        self._leaving = Leaving(Admin(self._sockets.admin))
        self.meter = UsageMeter(
            # A connection of its own: a long scrape must not keep a drain waiting.
            Admin(self._sockets.admin),
            find=self.router.places.by_key,
            report=self._report,
            scraped=self._take_in,
        )
        service = ActivationService(
            self._activator,
            gateway=process,
            kind_of=self.catalogue.kind,
            explain=self.meter.book.explain,
            poke=self.meter.poke,
            take_back=self.router.take_back,
        )
        self._questions = Questions(self._sockets.questions, service.check)
        self.envoy = EnvoyProcess(self._settings(config, scripts, folder), self.admin)
        self._request_log = RequestLog(folder / REQUEST_LOG, self.admin)

    def _settings(self, config: GatewayConfig, scripts: Scripts, folder: Path) -> EnvoySettings:
        document = bootstrap.document(
            door=self._certificates.door(config.host, config.port),
            sockets=self._sockets,
            scripts=scripts,
            limits=config.edge.within(_descriptors()),
            request_log=str(folder / REQUEST_LOG),
        )
        inherits = (self._uses.descriptor,)
        return EnvoySettings(find_program(), folder, document, config.concurrency, inherits)

    @property
    def running(self) -> int:
        """Requests that were not answered yet when `drain` looked last."""
        return self._leaving.running

    def leave(self) -> None:
        """Readiness says no from now on; everything is served as before."""
        if self._oip is not None:
            self._oip.leave()

    async def drain(self) -> None:
        """Ask clients to go elsewhere, accept no new connections after a moment, return when nothing runs any more.

        Can be cancelled at any time, and what runs then goes on.
        """
        if self.serving.is_set() and self._oip is not None:
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(self._oip.end_quiet_streams(), name="end streams")
                await self._leaving.drain()
                ending.cancel()

    async def refuse(self, why: str) -> None:
        """Refuse what waits for a model, and what comes from now on; end all streams. Returns when the clients know, or
        soon.
        """
        self._activator.end(why)
        if self._oip is not None:
            self._oip.end_streams(why)
        await self._leaving.wait_told()

    async def wait_told(self) -> None:
        """Until clients have their answers, for a moment at most: after inference servers ended under requests."""
        await self._leaving.wait_told()

    async def run(self) -> None:
        """Serve until cancelled."""
        server = await self._control_server()
        try:
            # Questions are answered for as long as Envoy runs.
            async with self._questions.open(), asyncio.TaskGroup() as group:
                self._oip = oip = OipServer(
                    OipSettings(
                        rest_socket=self._sockets.oip_rest,
                        grpc_socket=self._sockets.oip_grpc,
                        relay_target=f"unix:{self._sockets.inner}",
                        begin_seconds=self._config.edge.request_seconds * _BEGIN_SHARE,
                    ),
                    catalogue=self.catalogue,
                    metadata=self.agents.metadata,
                    configuration=self.agents.configuration,
                    servers=self.agents,
                    allowed=self._allowed,
                    residency=self._by_hand,
                    kept=self._allowed.kept,
                    access=self._access,
                )
                group.create_task(oip.run(), name="gateway oip")
                group.create_task(self._following.run(), name="gateway catalogue")
                group.create_task(self._access.run(), name="gateway access")
                group.create_task(self.agents.run(), name="gateway agents")
                group.create_task(self._drains.run(), name="gateway drains")
                group.create_task(self._allowed.run(), name="gateway allowed")
                await oip.serving.wait()
                for path in (self._sockets.admin, self._sockets.inner):
                    path.unlink(missing_ok=True)
                group.create_task(self.envoy.run(), name="gateway envoy")
                await self.envoy.wait_live()
                self._certificates.check()
                group.create_task(self.meter.run(), name="gateway meter")
                group.create_task(self._request_log.run(), name="gateway request log")
                group.create_task(
                    BoundedLog(self.envoy.log_file, kept=1).run(), name="gateway envoy log"
                )
                self.serving.set()
        finally:
            self.serving.clear()
            await self.admin.close()
            await self._leaving.close()
            await server.stop(_STOP_SECONDS)
            self._uses.close()

    def _ask(self, asking: Asking | None) -> int:
        self._token_clusters.follow(asking.waiting if asking is not None else ())
        return self._own_routes.ask(asking)

    def _replicas_changed(self) -> None:
        self.agents.catalogue_changed()
        self._allowed.catalogue_changed()

    def _take_in(self, counts: Mapping[tuple[str, int], PlaceCount], at: float) -> None:
        self._drains.see(counts)
        self.router.collect(counts, at)

    def _report(self, usages: Sequence[Usage]) -> None:
        for usage in usages:
            if usage.place.slot == 0:
                self._own_routes.count(usage.place.model, usage.requests)
        self.agents.report(usages)

    async def _control_server(self) -> grpc.aio.Server:
        """The xDS server."""
        server = grpc.aio.server(options=SERVER_OPTIONS)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self.feed, server)
        self._sockets.control.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{self._sockets.control}")
        await server.start()
        return server


@contextlib.asynccontextmanager
async def running_gateway(config: GatewayConfig) -> AsyncIterator[GatewayPart]:
    """A gateway that serves for as long as the block runs. Raises what `GatewayPart` raises."""
    part = GatewayPart(config)
    running = asyncio.create_task(part.run(), name="gateway")
    serving = asyncio.create_task(part.serving.wait(), name="gateway serving")
    try:
        await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield part
    finally:
        serving.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
