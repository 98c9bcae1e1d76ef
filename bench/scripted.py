"""A scheduler and an agent that say what the benchmark wants: models that are all hot on one server.

They stand in for the real ones, so that a gateway can have a thousand hot models in front of an upstream
that is no inference server. They keep the real ones' order: an address before hot models.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio

from overbook.access.roles import Role
from overbook.access.tokens import digest
from overbook.wire import agent_pb2, agent_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc
from overbook.wire.channel import SERVER_OPTIONS
from overbook.wire.common_pb2 import ReplicaRef

_REPLICA = ReplicaRef(server="bench", replica=0)
_KEY = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Scene:
    """The models, all hot, at ``upstream`` ("host:port"). Targets are gRPC targets to listen on.

    ``tokens``: those that may use models; without any nobody is asked for one.
    """

    models: Sequence[str]
    upstream: str
    scheduler_target: str
    agent_target: str
    tokens: Sequence[str] = ()


class ScriptedScheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Knows one catalogue, which never changes."""

    def __init__(self, scene: Scene) -> None:
        self._catalogue = scheduler_pb2.CatalogueUpdate(
            reset=True,
            models=[
                scheduler_pb2.CatalogueModel(name=name, generation=1, replicas=[_REPLICA])
                for name in scene.models
            ],
            replicas=[
                scheduler_pb2.CatalogueReplica(
                    ref=_REPLICA, agent_target=scene.agent_target, runtime="bench"
                )
            ],
            complete=True,
            access=_access(scene.tokens),
        )

    async def WatchCatalogue(  # noqa: N802  the name is gRPC's
        self,
        requests: AsyncIterator[scheduler_pb2.WatchCatalogueRequest],
        context: grpc.aio.ServicerContext[
            scheduler_pb2.WatchCatalogueRequest, scheduler_pb2.CatalogueUpdate
        ],
    ) -> AsyncIterator[scheduler_pb2.CatalogueUpdate]:
        yield self._catalogue
        await asyncio.get_running_loop().create_future()

    async def AgentSession(  # noqa: N802
        self,
        request_iterator: AsyncIterator[scheduler_pb2.AgentToScheduler],
        context: grpc.aio.ServicerContext[
            scheduler_pb2.AgentToScheduler, scheduler_pb2.SchedulerToAgent
        ],
    ) -> AsyncIterator[scheduler_pb2.SchedulerToAgent]:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this scheduler has no agents")
        yield scheduler_pb2.SchedulerToAgent()

    async def WatchServers(  # noqa: N802
        self,
        request: scheduler_pb2.WatchServersRequest,
        context: grpc.aio.ServicerContext[
            scheduler_pb2.WatchServersRequest, scheduler_pb2.ServerListUpdate
        ],
    ) -> AsyncIterator[scheduler_pb2.ServerListUpdate]:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this scheduler has no servers")
        yield scheduler_pb2.ServerListUpdate()

    async def TellNews(  # noqa: N802
        self,
        request: scheduler_pb2.ReplicaNews,
        context: grpc.aio.ServicerContext[scheduler_pb2.ReplicaNews, scheduler_pb2.NewsHeard],
    ) -> scheduler_pb2.NewsHeard:
        return scheduler_pb2.NewsHeard()


def _access(tokens: Sequence[str]) -> scheduler_pb2.Access:
    known = [
        scheduler_pb2.AccessToken(name=each, role=Role.INFER, digest=digest(_KEY, each))
        for each in tokens
    ]
    return scheduler_pb2.Access(asked=bool(tokens), key=_KEY, tokens=known)


class ScriptedAgent(agent_pb2_grpc.AgentServiceServicer):
    """Says that every model is hot. ``activations`` counts requests that did not go the hot way."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.activations = 0

    async def Follow(  # noqa: N802
        self,
        requests: AsyncIterator[agent_pb2.GatewayToAgent],
        context: grpc.aio.ServicerContext[agent_pb2.GatewayToAgent, agent_pb2.AgentToGateway],
    ) -> AsyncIterator[agent_pb2.AgentToGateway]:
        address = agent_pb2.ServerAddress(
            rest=self._scene.upstream, grpc=self._scene.upstream, epoch=1
        )
        yield agent_pb2.AgentToGateway(address=address)
        hot = agent_pb2.HotUpdate(reset=True, models=self._scene.models, complete=True)
        yield agent_pb2.AgentToGateway(hot=hot)
        async for _ in requests:
            pass  # usage: nobody here decides by it

    async def Activate(  # noqa: N802
        self,
        request: agent_pb2.ActivateRequest,
        context: grpc.aio.ServicerContext[agent_pb2.ActivateRequest, agent_pb2.ActivateReply],
    ) -> agent_pb2.ActivateReply:
        self.activations += 1
        return agent_pb2.ActivateReply(outcome=agent_pb2.ActivateReply.RESIDENT)

    async def Evict(  # noqa: N802
        self,
        request: agent_pb2.EvictRequest,
        context: grpc.aio.ServicerContext[agent_pb2.EvictRequest, agent_pb2.EvictReply],
    ) -> agent_pb2.EvictReply:
        return agent_pb2.EvictReply(reason="every model stays hot here", refused=True)

    async def Metadata(  # noqa: N802
        self,
        request: agent_pb2.MetadataRequest,
        context: grpc.aio.ServicerContext[agent_pb2.MetadataRequest, agent_pb2.MetadataReply],
    ) -> agent_pb2.MetadataReply:
        return agent_pb2.MetadataReply(found=False)

    async def Configuration(  # noqa: N802
        self,
        request: agent_pb2.ConfigurationRequest,
        context: grpc.aio.ServicerContext[
            agent_pb2.ConfigurationRequest, agent_pb2.ConfigurationReply
        ],
    ) -> agent_pb2.ConfigurationReply:
        return agent_pb2.ConfigurationReply(found=False)


@contextlib.asynccontextmanager
async def playing(scene: Scene) -> AsyncIterator[ScriptedAgent]:
    """Both serve for as long as the block runs."""
    agent = ScriptedAgent(scene)
    agents, schedulers = (
        grpc.aio.server(options=SERVER_OPTIONS),
        grpc.aio.server(options=SERVER_OPTIONS),
    )
    agent_pb2_grpc.add_AgentServiceServicer_to_server(agent, agents)
    scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(ScriptedScheduler(scene), schedulers)
    agents.add_insecure_port(scene.agent_target)
    schedulers.add_insecure_port(scene.scheduler_target)
    await agents.start()
    await schedulers.start()
    try:
        yield agent
    finally:
        await schedulers.stop(0)
        await agents.stop(0)
