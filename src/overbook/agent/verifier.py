"""Has contents tried that were never loaded in this runtime, and tells whose standing changed.

Where the inference server can weigh, a weighing is the trial, and `memory.weigher` has it made. Elsewhere the model is
loaded into the server itself: one at a time, while no request waits for room, into room that is free or that idle
models give; never into that of models in use. A model for which others had to leave goes again at once, so that all
trials together cost the room of one, and what is kept free for the next.

Decides nothing about memory: it asks as a request would, but not long enough to be given the room of somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from typing import Final, Protocol

from overbook.agent.activation import Activation, AgentStops
from overbook.agent.clock import Clock
from overbook.agent.notices import Notices
from overbook.agent.reasons import is_passing
from overbook.agent.servers.protocol import ModelRejected, PreparedModel, WeighingFailed
from overbook.agent.verification import Standing, Verdict, Verification
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId
from overbook.residency.outlook import Statistics
from overbook.residency.states import State

# Seconds for which a trial waits for room. Whoever waits for longer (`Limits.patience`) is given that of models in use.
_FOR_ROOM: Final = 1.5
# Seconds until the next look at those that wait, and after one that found no room.
_LOOK: Final = 1.0
_PAUSE: Final = 5.0


class Trying(Protocol):
    """The actor, as far as it matters here."""

    @property
    def entries(self) -> Mapping[ModelName, Entry]: ...

    @property
    def free(self) -> int: ...

    def statistics(self) -> Statistics: ...

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation: ...

    def passed(self, request: RequestId) -> None: ...

    def evict(self, model: ModelName) -> None: ...


@dataclass(frozen=True, slots=True)
class VerifierPorts:
    """``weighs``: whether the server does. ``under_way``: names of artifacts that are being loaded or weighed."""

    actor: Trying
    notices: Notices
    clock: Clock
    weighs: bool
    under_way: Callable[[], set[str]]


class Verifier:
    """Of one server replica. `run` it."""

    def __init__(self, verification: Verification, ports: VerifierPorts) -> None:
        self._verification = verification
        self._actor = ports.actor
        self._notices = ports.notices
        self._clock = ports.clock
        self._weighs = ports.weighs
        self._under_way = ports.under_way
        self._waiting: dict[str, None] = {}

    def register(self, model: PreparedModel, *, wanted: bool) -> None:
        """This is the newest content of the model. ``wanted``: it is to be tried."""
        self._verification.register(model, self._clock.now())
        self._waiting.pop(model.name, None)
        if wanted and not self._weighs:
            self._waiting[model.name] = None

    def forget(self, model: str) -> None:
        """It is not assigned any more."""
        self._verification.forget(model)
        self._waiting.pop(model, None)

    @property
    def waiting(self) -> Set[str]:
        """Models that are to be tried."""
        return {
            model
            for model in self._waiting
            if self._verification.of(model).standing is not Standing.VERIFIED
        }

    def of(self, model: str, *, wanted: bool) -> Verdict:
        return self._verification.of(model, wanted=wanted)

    def loaded(self, model: PreparedModel) -> None:
        """The server has loaded it."""
        self._tell(self._verification.loaded(model))

    def weighed(self, model: PreparedModel, error: Exception | None) -> None:
        """A weighing of it ended, well or not."""
        if error is None:
            self._tell(self._verification.loaded(model))
        elif isinstance(error, WeighingFailed) and error.died:
            self._tell(self._verification.died(model, str(error)))
        elif isinstance(error, ModelRejected) or (
            isinstance(error, WeighingFailed) and error.raised
        ):
            passing = isinstance(error, ModelRejected) and error.passing
            judge = (
                self._verification.hindered
                if passing or is_passing(str(error))
                else self._verification.raised
            )
            self._tell(judge(model, str(error)))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            late = self._verification.end_waits(self._clock.now(), self._under_way())
            self._tell(late)
            pause = _LOOK
            if (model := self._next()) is not None:
                pause = await self._try(ModelName(model))
            await asyncio.sleep(pause)

    def _next(self) -> str | None:
        """The model to be tried now, None while requests need the server's time, or nothing waits."""
        for model in tuple(self._waiting):
            if self._verification.of(model).standing is Standing.VERIFIED:
                del self._waiting[model]
        if self._actor.statistics().waiting:
            return None
        return next((each for each in self._waiting if self._is_cold(each)), None)

    def _is_cold(self, model: str) -> bool:
        """Whether a load would say anything: not while one is under way, or after one that failed."""
        entry = self._actor.entries.get(ModelName(model))
        return entry is not None and entry.state is State.COLD and not entry.failures

    async def _try(self, model: ModelName) -> float:
        """Seconds until the next one."""
        del self._waiting[model]
        crowded = self._actor.entries[model].size > self._actor.free
        try:
            activation = await self._actor.activate(model, timeout=_FOR_ROOM, suspect=False)
        except AgentStops:
            return _PAUSE
        if activation.refusal is None:
            self._actor.passed(activation.request)  # no request follows
            if crowded:
                self._actor.evict(model)
            return 0.0
        if model in self._actor.entries:
            self._waiting[model] = None
        return _PAUSE

    def _tell(self, models: Collection[str]) -> None:
        for model in models:
            self._notices.changed(model)
