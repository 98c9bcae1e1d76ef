"""Requests that wait for the core's answer, each with the future of whoever asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from overbook.agent.activation import Activation, AgentStops
from overbook.agent.clock import Clock
from overbook.agent.contents import Contents
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName, RequestId


@dataclass(frozen=True, slots=True)
class Waiter:
    """``arrived``: seconds on the agent's clock."""

    request: RequestId
    model: ModelName
    arrived: float
    answer: asyncio.Future[Activation]


class Waiters:
    """Of one server replica, by request. ``contents`` say how much of a wait was a load."""

    def __init__(self, clock: Clock, contents: Contents) -> None:
        self._clock = clock
        self._contents = contents
        self._waiters: dict[RequestId, Waiter] = {}
        self._last = 0

    def arrive(self, model: ModelName) -> Waiter:
        """A request with a number of its own."""
        self._last += 1
        answer: asyncio.Future[Activation] = asyncio.get_running_loop().create_future()
        waiter = Waiter(RequestId(self._last), model, self._clock.now(), answer)
        self._waiters[waiter.request] = waiter
        return waiter

    def leave(self, request: RequestId) -> None:
        """Its caller is gone."""
        self._waiters.pop(request, None)

    def answer(
        self,
        request: RequestId,
        refusal: Refusal | None = None,
        reason: str = "",
        retry_after: float = 0.0,
    ) -> ModelName | None:
        """The model that it waited for; None when nobody waits any more."""
        waiter = self._waiters.pop(request, None)
        if waiter is None or waiter.answer.done():
            return (
                None  # its caller was cancelled in this very turn of the loop; RequestLeft follows
            )
        waited = self._clock.now() - waiter.arrived
        load = min(self._contents.load_since(waiter.model, waiter.arrived), waited)
        waiter.answer.set_result(Activation(refusal, reason, retry_after, waited, load, request))
        return waiter.model

    def send_away(self) -> list[RequestId]:
        """To other replicas, all of them."""
        gone, self._waiters = self._waiters, {}
        for waiter in gone.values():
            if not waiter.answer.done():
                waiter.answer.set_exception(AgentStops())
        return list(gone)
