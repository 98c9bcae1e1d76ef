"""What people ask of one server replica, through the scheduler or by the protocol: activate, evict."""

from __future__ import annotations

import asyncio

from overbook.agent.activation import AgentStops
from overbook.agent.actor import Actor
from overbook.agent.assignments import Assignments
from overbook.residency.events import ModelName
from overbook.residency.states import State
from overbook.wire import scheduler_pb2 as pb


class Commands:
    def __init__(self, actor: Actor, assignments: Assignments) -> None:
        self._actor = actor
        self._assignments = assignments

    async def run(self, command: pb.Command) -> str:
        """Empty when done, else why not."""
        model = ModelName(command.model)
        timeout = command.timeout_seconds or 60.0
        if command.kind == pb.Command.ACTIVATE:
            self._assignments.try_again(model)
            try:
                activation = await self._assignments.activate(model, timeout=timeout, suspect=False)
            except AgentStops:
                return "the agent of this server replica is stopping"
            if activation.refusal is not None:
                return activation.reason
            self._actor.passed(activation.request)  # no request follows
            return ""
        if command.kind == pb.Command.EVICT:
            return await self.evict(model, timeout)
        return f"command {command.kind} is unknown to this agent"

    def pinned(self, model: ModelName) -> bool:
        """Whether it is not to be evicted. The scheduler has looked before it sends a command; gateways have not."""
        entry = self._actor.entries.get(model)
        return entry is not None and entry.pinned

    async def evict(self, model: ModelName, timeout: float) -> str:
        """Empty when its bytes are back, else why not."""
        entry = self._actor.entries.get(model)
        if entry is None:
            return f"model '{model}' is not on this server replica"
        asked = False
        try:
            async with asyncio.timeout(timeout):
                # A load under way ends first; whoever waits for it gets its answer.
                while self._actor.charged(model):
                    if entry.state is State.RESIDENT and asked:
                        return f"model '{model}' is in use: a request came for it while it drained"
                    if entry.state is State.RESIDENT or (
                        entry.state is State.DRAINING and not asked
                    ):
                        self._actor.evict(model)
                        asked = True
                    # A person waits here, not a request: a short pause is simpler than a subscription.
                    await asyncio.sleep(0.01)
        except TimeoutError:
            return f"model '{model}' is still {entry.state.value} after {timeout:.0f} s"
        return ""
