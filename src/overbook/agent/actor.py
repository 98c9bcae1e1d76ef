"""The actor: the only one who feeds the residency core and the only one who loads and unloads.

It turns what happens (requests, gateways' answers, results) into events, and the core's effects into calls of the
inference server, messages to gateways and answers to waiters. It decides nothing about memory. Operations on one
model run one after the other; every operation belongs to an epoch of the server process and dies with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from overbook.agent.clock import Clock
from overbook.agent.followers import Followers
from overbook.agent.notices import Notices
from overbook.agent.servers.protocol import (
    InferenceServer,
    ModelRejected,
    PreparedModel,
    Presence,
    ServerUnreachable,
)
from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.books import Entry
from overbook.residency.core import Core, Statistics
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName, RequestId
from overbook.residency.states import State


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """Deadlines of single calls to the inference server, in seconds."""

    load: float = 300.0
    unload: float = 60.0
    verify: float = 5.0


@dataclass(frozen=True, slots=True)
class Activation:
    """How a request for a model ended. ``refusal`` None: the model is resident. Times in seconds."""

    refusal: Refusal | None
    reason: str = ""
    retry_after: float = 0.0
    waited: float = 0.0
    load: float = 0.0


@dataclass(slots=True)
class _Waiter:
    model: ModelName
    arrived: float
    answer: asyncio.Future[Activation]


# Two deaths of the server while it loads the same model are taken for the model's doing.
_DEATHS_BLAMED = 2


class Actor:
    """One server replica. Not thread-safe: everything happens on one event loop.

    ``kill_server`` ends a process that does not answer; its end is then told by `server_down`.
    """

    def __init__(
        self,
        *,
        server: InferenceServer,
        core: Core,
        clock: Clock,
        notices: Notices,
        limits: OperationLimits,
        kill_server: Callable[[str], None],
    ) -> None:
        self._server = server
        self._core = core
        self._clock = clock
        self._notices = notices
        self._limits = limits
        self.followers = Followers(on_drained=self._on_drained, on_usage=self._on_usage)
        self._prepared: dict[ModelName, PreparedModel] = {}
        self._waiters: dict[RequestId, _Waiter] = {}
        self._next_request = 0
        self._load_began: dict[ModelName, float] = {}
        self._load_seconds: dict[ModelName, float] = {}
        self._deaths: dict[ModelName, int] = {}
        self._metadata: dict[ModelName, tuple[int, Mapping[str, object]]] = {}
        self._inbox: deque[ev.Event] = deque()
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._operations: dict[ModelName, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._kill_server = kill_server

    async def run(self) -> None:
        """Own the operations until cancelled; an error that is nobody's answer ends the agent."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                if self._timer is not None:
                    self._timer.cancel()
                for waiter in self._waiters.values():
                    if not waiter.answer.done():
                        waiter.answer.cancel("the agent stops")

    # -- what the other modules of the agent say

    @property
    def entries(self) -> Mapping[ModelName, Entry]:
        return self._core.entries

    def statistics(self) -> Statistics:
        return self._core.statistics()

    def charged(self, model: ModelName) -> int:
        return self._core.ledger.of(model)

    def assign(self, prepared: PreparedModel, register: ev.Register) -> None:
        self._prepared[register.model] = prepared
        self.feed(register)

    def remove(self, model: ModelName) -> None:
        self.feed(ev.Remove(model))

    def set_budget(self, budget: int) -> None:
        self.feed(ev.BudgetChanged(budget))

    def server_up(self) -> None:
        self.feed(ev.ServerUp())

    def server_down(self, reason: str) -> None:
        """The process ended: its operations are void, and a model that keeps killing it is held back."""
        for task in self._operations.values():
            task.cancel(reason)
        self._operations.clear()
        self.followers.withdraw_all()
        for model, entry in list(self.entries.items()):
            if entry.state is State.LOADING:
                self._deaths[model] = self._deaths.get(model, 0) + 1
                if self._deaths[model] >= _DEATHS_BLAMED:
                    told = f"the inference server died {self._deaths[model]} times while loading it: {reason}"
                    self.feed(ev.LoadFailed(model, told))
        self._load_began.clear()
        self.feed(ev.ServerDown())

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation:
        """Wait until the model is resident. Cancelling withdraws the wish. ``timeout`` in seconds."""
        self._next_request += 1
        request = RequestId(self._next_request)
        arrived = self._clock.now()
        waiter = _Waiter(model, arrived, asyncio.get_running_loop().create_future())
        self._waiters[request] = waiter
        self.feed(ev.RequestArrived(request, model, arrived + timeout, suspect))
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._waiters.pop(request, None)
            self.feed(ev.RequestLeft(request))
            raise

    def evict(self, model: ModelName) -> None:
        self.feed(ev.EvictRequested(model))

    async def metadata(self, model: ModelName) -> Mapping[str, object] | None:
        """OIP metadata without loading: what the server said last, else what the files tell."""
        prepared = self._prepared.get(model)
        if prepared is None:
            return None
        known = self._metadata.get(model)
        if known is not None and known[0] == prepared.generation:
            return known[1]
        return self._server.static_metadata(prepared)

    # -- the core

    def feed(self, event: ev.Event) -> None:
        """Hand an event to the core and begin its effects. Events that arise meanwhile are handled after it."""
        self._inbox.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                for effect in self._core.handle(event, self._clock.now()):
                    self._begin(effect)
        finally:
            self._handling = False
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake = self._core.next_wakeup()
        if wake != float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(wake, lambda: self.feed(ev.Tick()))

    def _begin(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Grant(request):
                self._answer(request, None, "", 0.0)
            case fx.Reject(request, refusal, reason, retry_after):
                self._answer(request, refusal, reason, retry_after)
            case fx.Load(model, generation):
                self._load_began[model] = self._clock.now()
                self._notices.changed(model)
                self._operate(model, f"load {model}", self._load(model, generation))
            case fx.Unload(model):
                self._notices.changed(model)
                self._operate(model, f"unload {model}", self._unload(model))
            case fx.Verify(model):
                self._operate(model, f"verify {model}", self._verify(model))
            case fx.Publish(model):
                self.followers.publish(model)
                self._notices.changed(model)
            case fx.Withdraw(model, ticket, _):
                self.followers.withdraw(model, ticket)
                self._notices.changed(model)
            case fx.Evicted(model, cause):
                self._notices.evicted(model, cause)
            case fx.Forgotten(model):
                for known in (self._prepared, self._metadata, self._load_seconds, self._deaths):
                    known.pop(model, None)
                self._notices.forgotten(model)

    def _answer(
        self, request: RequestId, refusal: Refusal | None, reason: str, retry_after: float
    ) -> None:
        waiter = self._waiters.pop(request, None)
        if waiter is None or waiter.answer.done():
            return  # its caller was cancelled in this very turn of the loop; RequestLeft follows
        waited = self._clock.now() - waiter.arrived
        load = self._load_seconds.get(waiter.model, 0.0)
        activation = Activation(refusal, reason, retry_after, waited, min(load, waited))
        waiter.answer.set_result(activation)
        if refusal is not None:
            self._notices.changed(waiter.model)

    def _on_drained(self, model: ModelName, ticket: ev.Ticket) -> None:
        self.feed(ev.Drained(model, ticket))

    def _on_usage(self, model: ModelName, in_flight: int, active: bool) -> None:
        last_active = self._clock.now() if active else -float("inf")
        self.feed(ev.UsageSeen(model, in_flight, last_active))
        self._notices.used(model)

    # -- operations on the inference server

    def _operate(
        self, model: ModelName, name: str, operation: Coroutine[object, object, None]
    ) -> None:
        if self._tasks is None:
            operation.close()
            raise RuntimeError("the actor is not running")
        before = self._operations.get(model)

        async def in_turn() -> None:
            if before is not None and not before.done():
                await asyncio.wait([before])
            await operation

        task = self._tasks.create_task(in_turn(), name=name)
        self._operations[model] = task
        task.add_done_callback(lambda done: self._operation_ended(model, done, operation))

    def _operation_ended(
        self,
        model: ModelName,
        task: asyncio.Task[None],
        operation: Coroutine[object, object, None],
    ) -> None:
        operation.close()  # one that was cancelled before its turn never began
        if self._operations.get(model) is task:
            del self._operations[model]

    async def _load(self, model: ModelName, generation: int) -> None:
        prepared = self._prepared[model]
        began = self._clock.now()
        try:
            async with asyncio.timeout(self._limits.load):
                await self._server.load(prepared, timeout=self._limits.load)
        except ModelRejected as error:
            self._notices.load_failed(model, str(error))
            self.feed(ev.LoadFailed(model, str(error)))
            return
        except (ServerUnreachable, TimeoutError) as error:
            took = self._clock.now() - began
            reason = f"the load did not end within {took:.0f} s ({error or 'no answer'})"
            if took >= self._limits.load:
                # Hung: the model is to blame, and only a new process gives its memory back.
                self._notices.load_failed(model, reason)
                self.feed(ev.LoadFailed(model, reason))
            self._kill_server(reason)
            return
        seconds = self._clock.now() - began
        self._load_seconds[model] = seconds
        self._deaths.pop(model, None)
        self._notices.loaded(model, seconds)
        self.feed(ev.LoadSucceeded(model))
        await self._learn_metadata(prepared)

    async def _learn_metadata(self, prepared: PreparedModel) -> None:
        model = ModelName(prepared.name)
        known = self._metadata.get(model)
        if known is not None and known[0] == prepared.generation:
            return
        try:
            found = await self._server.metadata(prepared.name, timeout=self._limits.verify)
        except (ServerUnreachable, ModelRejected):
            return  # static metadata serves; the next load asks again
        if self._prepared.get(model) is prepared:
            self._metadata[model] = (prepared.generation, found)

    async def _unload(self, model: ModelName) -> None:
        try:
            async with asyncio.timeout(self._limits.unload):
                await self._server.unload(model, timeout=self._limits.unload)
        except (ServerUnreachable, TimeoutError) as error:
            self._kill_server(f"unload of model '{model}' did not end: {error or 'no answer'}")
            return
        self.feed(ev.Unloaded(model))

    async def _verify(self, model: ModelName) -> None:
        try:
            async with asyncio.timeout(self._limits.verify):
                presence = await self._server.presence(model, timeout=self._limits.verify)
        except (ServerUnreachable, TimeoutError):
            # Busy or dying: if it died the supervisor says so; absence may only be concluded from a 404.
            presence = Presence.READY
        entry = self.entries.get(model)
        if entry is not None and entry.verifying:
            self.feed(ev.Verified(model, present=presence is not Presence.ABSENT))
