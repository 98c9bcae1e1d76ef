"""`AgentService` for gateways: activation, metadata, and the stream by which routing follows residency.

Translates between messages and the actor; decides nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final

import grpc
import grpc.aio

from overbook import metrics
from overbook.agent.actor import Activation
from overbook.agent.assignments import Assignments
from overbook.agent.followers import Follower, Followers
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName, Ticket
from overbook.wire import agent_pb2 as pb
from overbook.wire import agent_pb2_grpc

_OUTCOMES: Final = {
    None: pb.ActivateReply.RESIDENT,
    Refusal.UNKNOWN: pb.ActivateReply.NOT_ASSIGNED,
    Refusal.LOAD_FAILED: pb.ActivateReply.LOAD_FAILED,
    Refusal.OVERLOADED: pb.ActivateReply.OVERLOADED,
    Refusal.DEADLINE: pb.ActivateReply.DEADLINE,
    Refusal.NO_ROOM: pb.ActivateReply.UNAVAILABLE,
}
# A gateway that sends no timeout still gets an answer.
_DEFAULT_TIMEOUT: Final = 60.0


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, assignments: Assignments, followers: Followers) -> None:
        self._assignments = assignments
        self._followers = followers

    async def Activate(  # noqa: N802 - the name is the protocol's
        self,
        request: pb.ActivateRequest,
        context: grpc.aio.ServicerContext[pb.ActivateRequest, pb.ActivateReply],
    ) -> pb.ActivateReply:
        timeout = request.timeout_seconds or _DEFAULT_TIMEOUT
        activation = await self._assignments.activate(
            ModelName(request.model), timeout=timeout, suspect=request.suspect
        )
        _count(activation)
        return pb.ActivateReply(
            outcome=_OUTCOMES[activation.refusal],
            reason=activation.reason,
            retry_after_seconds=activation.retry_after,
            waited_seconds=max(0.0, activation.waited - activation.load),
            load_seconds=activation.load,
        )

    async def Metadata(  # noqa: N802
        self,
        request: pb.MetadataRequest,
        context: grpc.aio.ServicerContext[pb.MetadataRequest, pb.MetadataReply],
    ) -> pb.MetadataReply:
        found = await self._assignments.metadata(ModelName(request.model))
        if found is None:
            return pb.MetadataReply(found=False)
        return pb.MetadataReply(found=True, json=json.dumps(found))

    async def Follow(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.GatewayToAgent],
        context: grpc.aio.ServicerContext[pb.GatewayToAgent, pb.AgentToGateway],
    ) -> AsyncIterator[pb.AgentToGateway]:
        hello = await anext(request_iterator, None)
        if hello is None or not hello.hello.gateway:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected GatewayHello first")
            return
        follower = self._followers.attach(hello.hello.gateway)
        listener = asyncio.create_task(
            self._listen(follower, request_iterator), name=f"listen to {follower.gateway}"
        )
        listener.add_done_callback(lambda _: follower.wake.set())
        try:
            while not listener.done():
                for message in self._followers.messages_for(follower):
                    yield message
                await follower.wake.wait()
                follower.wake.clear()
            listener.result()
        finally:
            listener.cancel()
            self._followers.detach(follower)

    async def _listen(self, follower: Follower, messages: AsyncIterator[pb.GatewayToAgent]) -> None:
        async for message in messages:
            match message.WhichOneof("message"):
                case "withdrawn":
                    done = message.withdrawn
                    self._followers.withdrawn(follower, ModelName(done.model), Ticket(done.ticket))
                case "usage":
                    for usage in message.usage.models:
                        self._followers.usage(
                            follower, ModelName(usage.model), usage.in_flight, usage.requests
                        )


def _count(activation: Activation) -> None:
    if activation.refusal is not None:
        metrics.REFUSED.labels(activation.refusal.value).inc()
        return
    if activation.load or activation.waited > 0.0005:  # else it was resident and nobody waited
        seconds = metrics.ACTIVATION_SECONDS
        seconds.labels("total").observe(activation.waited)
        seconds.labels("load").observe(activation.load)
        seconds.labels("wait").observe(max(0.0, activation.waited - activation.load))
