"""`AgentService` for gateways: activation, eviction, metadata, and the stream by which routing follows residency.

Translates between messages and the actor; decides nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Final, TypeAlias, assert_never

import grpc
import grpc.aio

from overbook import metrics
from overbook.agent.activation import Activation, AgentStops
from overbook.agent.assignments import Assignments
from overbook.agent.commands import Commands
from overbook.agent.followers import Follower, Followers
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName, Ticket
from overbook.wire import agent_pb2 as pb
from overbook.wire import agent_pb2_grpc
from overbook.wire.outcomes import Outcome

_Stream: TypeAlias = "grpc.aio.ServicerContext[pb.GatewayToAgent, pb.AgentToGateway]"
# A gateway that sends no timeout still gets an answer.
_DEFAULT_TIMEOUT: Final = 60.0


class AgentService(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, assignments: Assignments, followers: Followers, commands: Commands) -> None:
        self._assignments = assignments
        self._followers = followers
        self._commands = commands

    async def Activate(  # noqa: N802 - the name is the protocol's
        self,
        request: pb.ActivateRequest,
        context: grpc.aio.ServicerContext[pb.ActivateRequest, pb.ActivateReply],
    ) -> pb.ActivateReply:
        timeout = request.timeout_seconds or _DEFAULT_TIMEOUT
        if request.again:
            self._assignments.try_again(ModelName(request.model))
        try:
            activation = await self._assignments.activate(
                ModelName(request.model), timeout=timeout, suspect=request.suspect
            )
        except AgentStops:
            return pb.ActivateReply(
                outcome=pb.ActivateReply.UNAVAILABLE,
                reason="the agent of this server replica is stopping",
                retry_after_seconds=1.0,
            )
        if activation.refusal is None:
            self._followers.granted(request.gateway, request.call, activation.request)
        _count(activation)
        return pb.ActivateReply(
            outcome=outcome_of(activation.refusal).value,
            reason=activation.reason,
            retry_after_seconds=activation.retry_after,
            waited_seconds=max(0.0, activation.waited - activation.load),
            load_seconds=activation.load,
        )

    async def Evict(  # noqa: N802
        self,
        request: pb.EvictRequest,
        context: grpc.aio.ServicerContext[pb.EvictRequest, pb.EvictReply],
    ) -> pb.EvictReply:
        model = ModelName(request.model)
        if self._commands.pinned(model):
            reason = (
                f"model {model!r} is pinned, so it stays in memory; `overbook unpin {model}` first"
            )
            return pb.EvictReply(reason=reason, refused=True)
        timeout = request.timeout_seconds or _DEFAULT_TIMEOUT
        return pb.EvictReply(reason=await self._commands.evict(model, timeout))

    async def Metadata(  # noqa: N802
        self,
        request: pb.MetadataRequest,
        context: grpc.aio.ServicerContext[pb.MetadataRequest, pb.MetadataReply],
    ) -> pb.MetadataReply:
        found = await self._assignments.metadata(ModelName(request.model))
        if found is None:
            return pb.MetadataReply(found=False)
        return pb.MetadataReply(found=True, json=json.dumps(found))

    async def Configuration(  # noqa: N802
        self,
        request: pb.ConfigurationRequest,
        context: grpc.aio.ServicerContext[pb.ConfigurationRequest, pb.ConfigurationReply],
    ) -> pb.ConfigurationReply:
        found = self._assignments.configuration(ModelName(request.model))
        if found is None:
            return pb.ConfigurationReply(found=False)
        return pb.ConfigurationReply(found=True, json=found.json, message=found.message)

    # A handler written as an async generator may never be closed when its stream is cancelled, and a
    # gateway that is gone would be waited for at every drain: so this one reads and writes itself.
    async def Follow(  # type: ignore[override]  # noqa: N802
        self, request_iterator: object, context: _Stream
    ) -> None:
        hello = await context.read()
        if not isinstance(hello, pb.GatewayToAgent) or not hello.hello.gateway:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "expected GatewayHello first")
        follower = self._followers.attach(hello.hello.gateway)
        name = follower.gateway
        listener = asyncio.create_task(self._listen(follower, context), name=f"hear {name}")
        speaker = asyncio.create_task(self._speak(follower, context), name=f"tell {name}")
        try:
            await asyncio.wait((listener, speaker), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._followers.detach(follower)
            listener.cancel()
            speaker.cancel()
            results = await asyncio.gather(listener, speaker, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, grpc.aio.BaseError):
                raise result

    async def _speak(self, follower: Follower, context: _Stream) -> None:
        while True:
            for message in self._followers.messages_for(follower):
                await context.write(message)
            await follower.wake.wait()
            follower.wake.clear()

    async def _listen(self, follower: Follower, context: _Stream) -> None:
        while True:
            message = await context.read()
            if not isinstance(message, pb.GatewayToAgent):
                return
            match message.WhichOneof("message"):
                case "withdrawn":
                    done = message.withdrawn
                    model = ModelName(done.model)
                    self._followers.let_through(follower, model, done.granted, done.epoch)
                    self._followers.withdrawn(follower, model, Ticket(done.ticket))
                case "passed":
                    passed = message.passed
                    model = ModelName(passed.model)
                    self._followers.let_through(follower, model, passed.granted, passed.epoch)
                    self._followers.passed(follower, passed.calls)
                case "usage":
                    for usage in message.usage.models:
                        self._followers.usage(
                            follower, ModelName(usage.model), usage.in_flight, usage.requests
                        )


def outcome_of(refusal: Refusal | None) -> Outcome:
    """What gateways are told. The type checker finds a refusal that is missing here."""
    match refusal:
        case None:
            return Outcome.RESIDENT
        case Refusal.UNKNOWN:
            return Outcome.NOT_ASSIGNED
        case Refusal.LOAD_FAILED:
            return Outcome.LOAD_FAILED
        case Refusal.OVERLOADED:
            return Outcome.OVERLOADED
        case Refusal.DEADLINE:
            return Outcome.DEADLINE
        case Refusal.NO_ROOM:
            return Outcome.NO_ROOM
    assert_never(refusal)


def _count(activation: Activation) -> None:
    """What was refused is counted by gateways, request by request: many may share one call, or repeat it."""
    if activation.refusal is not None:
        return
    if activation.load or activation.waited > 0.0005:  # else it was resident and nobody waited
        seconds = metrics.ACTIVATION_SECONDS
        seconds.labels("total").observe(activation.waited)
        seconds.labels("load").observe(activation.load)
        seconds.labels("wait").observe(max(0.0, activation.waited - activation.load))
