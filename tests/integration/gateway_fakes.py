"""What surrounds the gateway in its integration tests: a scheduler and an agent, over `fake_inference_server`.

They keep the real ones' ordering: an agent says an address before hot models, makes a model hot after
its load, and unloads only after the gateway has said Withdrawn, and Passed for every call that was granted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from overbook.gateway.activator import ActivatorLimits
from overbook.gateway.newcomers import GRANTS
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.part import GatewayConfig, GatewayPart, running_gateway
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.gateway.snapshot.names import Protocol
from overbook.tls.following import FollowedPair
from overbook.wire import agent_pb2, agent_pb2_grpc, oip_pb2, scheduler_pb2, scheduler_pb2_grpc
from overbook.wire.common_pb2 import ReplicaRef
from tests.integration.fake_inference_server import BIG, SERVICE, FakeServer


@dataclass(slots=True)
class Follower:
    """One gateway's stream as the agent sees it."""

    outgoing: asyncio.Queue[agent_pb2.AgentToGateway] = field(default_factory=asyncio.Queue)
    withdrawn: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    # What was granted and not passed, by model; and how many were passed at all.
    granted: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    passed: dict[str, int] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class FakeAgent(agent_pb2_grpc.AgentServiceServicer):
    """An agent over a FakeServer. ``load`` is what an activation does before the model is there, ``replying`` what it
    does before it says so. ``again``: the models that a person wanted loaded. ``elsewhere``: where it says that its
    server is, in its ``epoch``. ``untold``: models of which it does not say that they are hot: every request asks.
    """

    def __init__(self, server: FakeServer) -> None:
        self.server = server
        self.hot: set[str] = set()
        self.pinned: set[str] = set()
        self.again: list[str] = []
        self.elsewhere: ServerAddress | None = None
        self.epoch = 1
        self.untold: set[str] = set()
        self.assigned: set[str] | None = None
        self.activations: list[tuple[str, bool]] = []
        self.running = 0
        self.cancelled = 0
        self.loads: Counter[str] = Counter()
        self.usage: defaultdict[str, int] = defaultdict(int)
        self.in_flight: dict[str, int] = {}
        self.follower: Follower | None = None
        self.followed = asyncio.Event()
        self.refuse: dict[str, agent_pb2.ActivateReply] = {}
        self.configurations: dict[str, agent_pb2.ConfigurationReply] = {}
        self.load: Callable[[str], Awaitable[None]] = self._plain_load
        self.replying: Callable[[str], Awaitable[None]] = self._nothing_more
        self._loading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ticket = 0

    async def _plain_load(self, model: str) -> None:
        await asyncio.sleep(0.012)

    async def _nothing_more(self, model: str) -> None:
        return

    @contextlib.asynccontextmanager
    async def serving(self, target: str) -> AsyncIterator[FakeAgent]:
        server = grpc.aio.server()
        agent_pb2_grpc.add_AgentServiceServicer_to_server(self, server)
        server.add_insecure_port(target)
        await server.start()
        try:
            yield self
        finally:
            self.followed.clear()
            await server.stop(0)

    async def Activate(  # noqa: N802
        self,
        request: agent_pb2.ActivateRequest,
        context: grpc.aio.ServicerContext[agent_pb2.ActivateRequest, agent_pb2.ActivateReply],
    ) -> agent_pb2.ActivateReply:
        self.activations.append((request.model, request.suspect))
        self.again += [request.model] if request.again else []
        self.running += 1
        try:
            if request.model in self.refuse:
                return self.refuse[request.model]
            if self.assigned is not None and request.model not in self.assigned:
                return agent_pb2.ActivateReply(outcome=agent_pb2.ActivateReply.NOT_ASSIGNED)
            async with self._loading[request.model]:
                if request.model not in self.server.loaded:
                    await self.load(request.model)
                    self.loads[request.model] += 1
                    self.server.loaded.add(request.model)
            if request.model not in self.untold:
                self.make_hot(request.model)
            if self.follower is not None and request.gateway:
                self.follower.granted[request.model].add(request.call)
            await self.replying(request.model)
            return agent_pb2.ActivateReply(outcome=agent_pb2.ActivateReply.RESIDENT)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def Evict(  # noqa: N802
        self,
        request: agent_pb2.EvictRequest,
        context: grpc.aio.ServicerContext[agent_pb2.EvictRequest, agent_pb2.EvictReply],
    ) -> agent_pb2.EvictReply:
        if request.model in self.pinned:
            return agent_pb2.EvictReply(reason="it is pinned", refused=True)
        if request.model in self.hot:
            await self.withdraw(request.model, unload=True)
        return agent_pb2.EvictReply()

    async def Metadata(  # noqa: N802
        self,
        request: agent_pb2.MetadataRequest,
        context: grpc.aio.ServicerContext[agent_pb2.MetadataRequest, agent_pb2.MetadataReply],
    ) -> agent_pb2.MetadataReply:
        return agent_pb2.MetadataReply(found=True, json=json.dumps({"name": request.model}))

    async def Configuration(  # noqa: N802
        self,
        request: agent_pb2.ConfigurationRequest,
        context: grpc.aio.ServicerContext[
            agent_pb2.ConfigurationRequest, agent_pb2.ConfigurationReply
        ],
    ) -> agent_pb2.ConfigurationReply:
        return self.configurations.get(request.model, agent_pb2.ConfigurationReply())

    async def Follow(  # noqa: N802
        self,
        requests: AsyncIterator[agent_pb2.GatewayToAgent],
        context: grpc.aio.ServicerContext[agent_pb2.GatewayToAgent, agent_pb2.AgentToGateway],
    ) -> AsyncIterator[agent_pb2.AgentToGateway]:
        follower = Follower()
        self.follower = follower
        self.say_address()
        update = agent_pb2.HotUpdate(reset=True, models=sorted(self.hot), complete=True)
        follower.outgoing.put_nowait(agent_pb2.AgentToGateway(hot=update))
        reading = asyncio.create_task(self._read(requests, follower), name="fake agent reads")
        self.followed.set()
        try:
            while True:
                yield await follower.outgoing.get()
        finally:
            reading.cancel()

    async def _read(
        self, requests: AsyncIterator[agent_pb2.GatewayToAgent], follower: Follower
    ) -> None:
        async for message in requests:
            if message.HasField("withdrawn"):
                follower.passed[message.withdrawn.model] = message.withdrawn.granted
                follower.withdrawn.pop(message.withdrawn.ticket).set_result(None)
            if message.HasField("passed"):
                follower.passed[message.passed.model] = message.passed.granted
                follower.granted[message.passed.model].difference_update(message.passed.calls)
                follower.news.set()
            for model in message.usage.models:
                self.usage[model.model] += model.requests
                self.in_flight[model.model] = model.in_flight

    def say_address(self, *, down: bool = False) -> None:
        assert self.follower is not None
        where = self.elsewhere or ServerAddress(
            f"127.0.0.1:{self.server.rest_port}", f"127.0.0.1:{self.server.grpc_port}"
        )
        address = agent_pb2.ServerAddress(
            rest="" if down else where.rest,
            grpc="" if down else where.grpc,
            epoch=self.epoch,
            infer=f"127.0.0.1:{self.server.rest_port}" if self.server.counts else "",
            counts_requests=self.server.counts,
        )
        self.follower.outgoing.put_nowait(agent_pb2.AgentToGateway(address=address))

    def make_hot(self, *models: str) -> None:
        """The models are loaded: direct traffic may come."""
        self.hot.update(models)
        self.server.loaded.update(models)
        if self.follower is not None:
            update = agent_pb2.HotUpdate(models=list(models))
            self.follower.outgoing.put_nowait(agent_pb2.AgentToGateway(hot=update))

    def withdraw(self, model: str, *, unload: bool = False) -> asyncio.Task[None]:
        """Ask the gateway to take the route away; the task ends when the model may be unloaded, or is."""
        assert self.follower is not None
        self.hot.discard(model)
        self._ticket += 1
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.follower.withdrawn[self._ticket] = done
        order = agent_pb2.Withdraw(model=model, ticket=self._ticket)
        self.follower.outgoing.put_nowait(agent_pb2.AgentToGateway(withdraw=order))
        return asyncio.create_task(self._drain(model, done, self.follower, unload))

    async def _drain(
        self, model: str, withdrawn: asyncio.Future[None], gateway: Follower, unload: bool
    ) -> None:
        await withdrawn
        settled = False
        while gateway.granted[model] or not settled:
            if gateway.granted[model]:
                gateway.news.clear()
                await gateway.news.wait()
                settled = False
            else:
                if self.server.counts:
                    await self.server.settle(model, gateway.passed[model])
                settled = True
        if unload:
            self.server.loaded.discard(model)


class FakeScheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Serves one catalogue. Nobody here asks for anything else."""

    async def AgentSession(self, request_iterator, context):  # type: ignore[no-untyped-def]  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "agents have no business here")
        yield

    async def WatchServers(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no servers here")
        yield

    async def TellNews(  # noqa: N802
        self,
        request: scheduler_pb2.ReplicaNews,
        context: grpc.aio.ServicerContext[scheduler_pb2.ReplicaNews, scheduler_pb2.NewsHeard],
    ) -> scheduler_pb2.NewsHeard:
        return scheduler_pb2.NewsHeard()

    def __init__(self, update: scheduler_pb2.CatalogueUpdate) -> None:
        self.first = update
        # None ends the stream.
        self.changes: asyncio.Queue[scheduler_pb2.CatalogueUpdate | None] = asyncio.Queue()
        self.away = False
        self.heard = 0
        self.used: dict[str, float] = {}

    async def WatchCatalogue(  # noqa: N802
        self,
        requests: AsyncIterator[scheduler_pb2.WatchCatalogueRequest],
        context: grpc.aio.ServicerContext[
            scheduler_pb2.WatchCatalogueRequest, scheduler_pb2.CatalogueUpdate
        ],
    ) -> AsyncIterator[scheduler_pb2.CatalogueUpdate]:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away for now")
        reading = asyncio.create_task(self._read(requests), name="fake scheduler reads")
        try:
            yield self.first
            while (change := await self.changes.get()) is not None:
                yield change
        finally:
            reading.cancel()

    async def _read(self, requests: AsyncIterator[scheduler_pb2.WatchCatalogueRequest]) -> None:
        async for request in requests:
            self.heard = max(self.heard, request.heard)
            self.used.update(request.used)

    async def change(self, update: scheduler_pb2.CatalogueUpdate, revision: int) -> None:
        """Tell the gateway, and wait for its word."""
        update.revision = revision
        self.changes.put_nowait(update)
        await eventually(lambda: self.heard >= revision)

    def leave(self) -> None:
        """Nobody is answered until ``away`` is no more."""
        self.away = True
        self.changes.put_nowait(None)

    @contextlib.asynccontextmanager
    async def serving(self, target: str) -> AsyncIterator[FakeScheduler]:
        server = grpc.aio.server()
        scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(self, server)
        server.add_insecure_port(target)
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)


def catalogue(
    models: dict[str, list[int]], targets: dict[int, str], reason: str = ""
) -> scheduler_pb2.CatalogueUpdate:
    """Models on replicas of one server "fake", and the agents' targets by replica number."""
    return scheduler_pb2.CatalogueUpdate(
        reset=True,
        models=[
            scheduler_pb2.CatalogueModel(
                name=name,
                generation=1,
                replicas=[ReplicaRef(server="fake", replica=number) for number in numbers],
                reason="" if numbers else reason,
                readiness=scheduler_pb2.CatalogueModel.READY,
            )
            for name, numbers in models.items()
        ],
        replicas=[
            scheduler_pb2.CatalogueReplica(
                ref=ReplicaRef(server="fake", replica=number), agent_target=target, runtime="fake"
            )
            for number, target in targets.items()
        ],
        complete=True,
        access=scheduler_pb2.Access(asked=False),
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Until the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Secured:
    """TLS of a gateway, and of its clients: ``ca``, which they trust, and ``shown``, certificate and key; in PEM."""

    followed: FollowedPair
    ca: bytes
    shown: tuple[bytes, bytes] | None = None
    http2: bool = False

    def context(self) -> ssl.SSLContext:
        """Of a client."""
        context = ssl.create_default_context(cadata=self.ca.decode())
        if self.shown is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(b"".join(self.shown))
                file.flush()
                context.load_cert_chain(file.name)
        return context


@dataclass(slots=True)
class World:
    """A running gateway, what surrounds it, and clients of it."""

    gateway: GatewayPart
    server: FakeServer
    agent: FakeAgent
    scheduler: FakeScheduler
    port: int
    rest: httpx.AsyncClient
    channel: grpc.aio.Channel
    folder: Path

    async def infer(self, model: str, **headers: str) -> httpx.Response:
        """One REST request."""
        return await self.rest.post(
            f"/v2/models/{model}/infer",
            content=b"{}",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    async def grpc_infer(
        self, model: str, data: bytes = b"", metadata: dict[str, str] | None = None
    ) -> oip_pb2.ModelInferResponse:
        """One ModelInfer."""
        call = self.channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )
        request = oip_pb2.ModelInferRequest(model_name=model, raw_input_contents=[data])
        found: oip_pb2.ModelInferResponse = await call(
            request, metadata=tuple((metadata or {}).items()), timeout=30
        )
        return found

    async def raw_call(
        self,
        message: bytes,
        *,
        method: str = f"/{SERVICE}/ModelInfer",
        seconds: float = 10.0,
        compression: grpc.Compression | None = None,
    ) -> bytes:
        """A unary gRPC call with exactly these bytes as its message."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            method, request_serializer=bytes, response_deserializer=bytes
        )
        return await call(message, timeout=seconds, compression=compression)

    async def make_hot(self, *models: str) -> None:
        """Load the models, and wait until Envoy routes to them by itself, over all protocols that the test needs."""
        self.agent.make_hot(*models)
        await eventually(lambda: set(models) <= self.gateway.router.hot_models("fake/0"))
        protocols = [Protocol.REST] if self.server.counts else list(Protocol)
        for model in models:
            for protocol in protocols:
                await self.gateway.router.open(model, "fake/0", protocol, now=0, timeout=5)
            for _ in range(GRANTS):
                # As if there were requests, but none that a server could miss.
                self.gateway.router.grant(model, "fake/0", Protocol.STREAM, now=0)
        await self.gateway.feed.wait_acked(self.gateway.feed.revision, 5)


async def evict_under_traffic(world: World, model: str, times: int) -> set[int]:
    """Evict a model again and again while four clients ask for it; the statuses that they saw."""
    world.server.delay[model] = 0.003
    stop = asyncio.Event()
    statuses: set[int] = set()

    async def traffic() -> None:
        while not stop.is_set():
            statuses.add((await world.infer(model)).status_code)
            await asyncio.sleep(0)

    clients = [asyncio.create_task(traffic()) for _ in range(4)]
    for _ in range(times):
        await asyncio.sleep(0.02)
        # From here on the fake agent gives no answer until the model is unloaded, as the real one.
        async with world.agent._loading[model]:
            await asyncio.wait_for(world.agent.withdraw(model), 5)
            assert world.server.running == 0
            world.server.loaded.discard(model)
    stop.set()
    await asyncio.gather(*clients)
    return statuses


async def answer_to_a_too_large_body(port: int, model: str) -> bytes:
    """The first bytes of what is said to a request that announces more than the limit."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\nx".encode()
    )
    head = await asyncio.wait_for(reader.readuntil(b"}"), 10)
    writer.close()
    await writer.wait_closed()
    return head


@contextlib.asynccontextmanager
async def running_world(
    models: dict[str, list[int]],
    targets: dict[int, str] | None = None,
    limits: ActivatorLimits | None = None,
    *,
    counts: bool = False,
    edge: EdgeLimits | None = None,
    tls: Secured | None = None,
) -> AsyncIterator[World]:
    """One replica "fake/0" and a gateway; further replicas' agents are the caller's. ``counts``: see `FakeServer`."""
    # Unix sockets' paths must be short, pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="ob-gw-") as name:
        folder = Path(name)
        port = free_port()
        server = FakeServer(counts=counts)
        agent = FakeAgent(server)
        target = agent_target(folder, 0)
        scheduler = FakeScheduler(catalogue(models, {0: target, **(targets or {})}, "no room"))
        config = GatewayConfig(
            state_dir=folder,
            run_dir=folder,
            scheduler_target=f"unix:{folder}/scheduler.sock",
            host="127.0.0.1",
            port=port,
            limits=limits or ActivatorLimits(),
            edge=edge or EdgeLimits(),
            tls=None if tls is None else tls.followed,
        )
        async with (
            server.serving(),
            agent.serving(target),
            scheduler.serving(config.scheduler_target),
            running_gateway(config) as gateway,
            _rest(port, tls) as rest,
            _channel(port, tls) as channel,
        ):
            async with asyncio.timeout(10):
                await agent.followed.wait()
                await gateway.catalogue.wait_known()
            yield World(gateway, server, agent, scheduler, port, rest, channel, folder)


def _rest(port: int, tls: Secured | None) -> httpx.AsyncClient:
    if tls is None:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
    return httpx.AsyncClient(
        base_url=f"https://127.0.0.1:{port}", timeout=60, verify=tls.context(), http2=tls.http2
    )


def _channel(port: int, tls: Secured | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=BIG)
    certificate, key = tls.shown or (None, None)
    credentials = grpc.ssl_channel_credentials(tls.ca, key, certificate)
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=BIG)


def agent_target(folder: Path, number: int) -> str:
    """Where the agent of a replica listens in tests."""
    return f"unix:{folder}/agent{number}.sock"
