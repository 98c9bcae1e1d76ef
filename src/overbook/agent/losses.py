"""Brings back models that the inference server lost by itself, where each has a process of its own that may die.

Requests heal such a model too: they see that it is absent and activate it. This is for the time without requests,
so that what is said to be resident is. It asks as a request would that came back from the server, and so nothing
new happens to memory. It counts as a use, which for a model that just died is near enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from overbook.agent.activation import Activation, AgentStops
from overbook.agent.clock import Clock
from overbook.agent.notices import Notices
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId
from overbook.residency.states import SERVING

_TIMEOUT: Final = 300.0
# One that dies again and again without being asked waits longer each time. The first death is no pattern.
_PAUSE_BASE: Final = 1.0
_PAUSE_MAX: Final = 60.0
_HEALTHY_AFTER: Final = 60.0


class Losing(Protocol):
    """The inference server, as far as it matters here."""

    async def wait_lost(self) -> str: ...


class Reviving(Protocol):
    """The actor, as far as it matters here."""

    @property
    def entries(self) -> Mapping[ModelName, Entry]: ...

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation: ...

    def passed(self, request: RequestId) -> None: ...


@dataclass(slots=True)
class _Deaths:
    count: int = 0
    last: float = 0.0


class LostModels:
    """Of one server replica."""

    def __init__(self, *, server: Losing, actor: Reviving, notices: Notices, clock: Clock) -> None:
        self._server = server
        self._actor = actor
        self._notices = notices
        self._clock = clock
        self._deaths: dict[ModelName, _Deaths] = {}

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                model = ModelName(await self._server.wait_lost())
                tasks.create_task(self._revive(model), name=f"revive {model}")

    async def _revive(self, model: ModelName) -> None:
        if not self._serving(model):
            return  # it was leaving anyway
        self._notices.lost(model)
        await asyncio.sleep(self._pause(model))
        if not self._serving(model):
            return
        try:
            activation = await self._actor.activate(model, timeout=_TIMEOUT, suspect=True)
        except AgentStops:
            return
        if activation.refusal is None:
            self._actor.passed(activation.request)  # no request follows

    def _serving(self, model: ModelName) -> bool:
        entry = self._actor.entries.get(model)
        return entry is not None and entry.state in SERVING

    def _pause(self, model: ModelName) -> float:
        now = self._clock.now()
        for known, deaths in list(self._deaths.items()):
            if now - deaths.last > _HEALTHY_AFTER + _PAUSE_MAX:
                del self._deaths[known]
        deaths = self._deaths.setdefault(model, _Deaths())
        deaths.count, deaths.last = deaths.count + 1, now
        if deaths.count == 1:
            return 0.0
        return min(_PAUSE_MAX, _PAUSE_BASE * 2.0 ** min(deaths.count - 2, 20))
