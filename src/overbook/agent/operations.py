"""Calls to the inference server: one at a time per model, each with a deadline, each bound to one process.

Theory of operation. A process that ended takes everything with it: `abandon` cancels what runs and begins a new
epoch, and a call that ends in an older epoch than it began in is not reported, even if its cancellation was
swallowed on the way. A load that fails has its artifact's local copy checked, once; a damaged copy is fetched
again and the load repeated before anybody is told. Models that are suspected of the end of a process load one after
the other, so that the innocent that were loading beside the guilty one clear themselves.

Decides nothing about memory, and repeats no load but for a repaired copy: that is `residency`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from overbook.agent.clock import Clock
from overbook.agent.deaths import Activity, Call, CallKind, Calls
from overbook.agent.looking import failing_alone
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.sizes import Measurable
from overbook.agent.reasons import is_lasting
from overbook.agent.servers.protocol import (
    Description,
    InferenceServer,
    ModelRejected,
    PreparedModel,
    Presence,
    ServerUnreachable,
    UnloadFailed,
)
from overbook.artifacts.errors import ArtifactError
from overbook.residency.events import ModelName, Ticket

# An adapter's own deadline may pass a moment before ours.
_NEARLY: Final = 0.95
_RETRY_PAUSE: Final = 0.05
# For which a load that may end the process stands back.
_AFTER_OTHERS: Final = 1.0

Report = Callable[[], None]
T = TypeVar("T")

# A model whose copy was damaged, with a new copy; None when the copy is as it was published, or was looked at since the
# model was loaded. Raises ArtifactError.
Repair = Callable[[PreparedModel], Awaitable[PreparedModel | None]]
# Has a model's files on the disk, as they were published, while its block runs. Raises ArtifactError.
Present = Callable[[PreparedModel], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class OperationLimits:
    """Deadlines of single calls to the inference server, in seconds."""

    load: float = 300.0
    unload: float = 60.0
    verify: float = 5.0
    settle: float = 60.0
    describe: float = 2.0


@dataclass(frozen=True, slots=True)
class Stuck:
    """Why the process must be ended, and for whose call. ``hung``: the call took all the time that it was given; else
    it was broken off, or refused, which says nothing about whom the process is busy with.
    """

    reason: str
    call: tuple[str, CallKind]
    hung: bool


@dataclass(frozen=True, slots=True)
class Reports:
    """Who is told how an operation ended. ``rejected``: why, and whether that may be otherwise at the next try.
    ``unloaded``: and what went wrong with that, if anything. ``stuck``: the process must be ended, and why.
    """

    loaded: Callable[[PreparedModel, float], None]
    rejected: Callable[[ModelName, str, bool], None]
    drained: Callable[[ModelName, Ticket], None]
    unloaded: Callable[[ModelName, str], None]
    verified: Callable[[ModelName, bool], None]
    described: Callable[[PreparedModel, Description], None]
    stuck: Callable[[Stuck], None]


class Operations:
    """The calls of one server replica; `run` owns them. ``watched``: whether a model had better load alone."""

    def __init__(
        self,
        *,
        server: InferenceServer,
        clock: Clock,
        limits: OperationLimits,
        reports: Reports,
        repair: Repair,
        meter: Meter,
        present: Present,
        watched: Callable[[PreparedModel], bool],
    ) -> None:
        self._watched = watched
        self._present = present
        self._server = server
        self._clock = clock
        self._limits = limits
        self._reports = reports
        self._repair = repair
        self._meter = meter
        self._tasks: asyncio.TaskGroup | None = None
        self._epoch = 0
        self._last: dict[ModelName, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._calling: dict[ModelName, PreparedModel] = {}
        self._silent = False  # a call went unanswered: the process will be ended
        self._hung: dict[ModelName, str] = {}
        self._suspects = asyncio.Lock()
        self._settling: dict[ModelName, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Own the operations until cancelled; an error that is nobody's answer ends the agent."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None
                self.abandon("the agent stops")

    def load(self, prepared: PreparedModel, replaces: PreparedModel | None = None) -> None:
        """``replaces``: what is loaded under this name and will be swapped."""
        self._begin(ModelName(prepared.name), "load", self._load(prepared, replaces))

    def unload(self, model: ModelName, loaded: PreparedModel | None, *, idle: bool) -> None:
        """``loaded``: what it holds, when known. ``idle``: no request is in flight there."""
        self.stop_settling(model)  # its time is over, if it has not ended
        self._begin(model, "unload", self._unload(model, loaded, idle))

    def settle(self, model: ModelName, ticket: Ticket, passed: Mapping[str, int]) -> None:
        """Wait until nothing of the model is in flight. ``passed``: see `InferenceServer.settle`."""
        operation = self._settle(model, ticket, passed)
        self._settling[model] = self._begin(model, "settle", operation)

    def stop_settling(self, model: ModelName) -> None:
        """It need not be known any more whether anything is in flight. Nothing is reported then."""
        task = self._settling.pop(model, None)
        if task is not None:
            task.cancel()

    def verify(self, model: ModelName) -> None:
        self._begin(model, "verify", self._verify(model))

    def describe(self, prepared: PreparedModel) -> None:
        self._begin(ModelName(prepared.name), "describe", self._describe(prepared))

    @property
    def calls(self) -> Calls:
        """What the server was asked to load, as it would say itself that it does."""
        calling = (Call(model, CallKind.LOAD, Activity.IN_THREAD) for model in self._calling)
        return Calls(tuple(calling))

    @property
    def hung(self) -> Mapping[ModelName, str]:
        """Models whose load did not end, with that in words: the process is ended for it."""
        return dict(self._hung)

    def abandon(self, reason: str) -> None:
        """The process is gone and its operations with it."""
        self._epoch += 1
        for task in self._running:
            task.cancel(reason)
        self._last.clear()
        self._settling.clear()
        self._calling.clear()
        self._silent = False
        self._hung.clear()

    # -- one after the other

    def _begin(
        self, model: ModelName, kind: str, operation: Coroutine[object, object, Report]
    ) -> asyncio.Task[None]:
        if self._tasks is None:
            operation.close()
            raise RuntimeError("operations are not running")
        before, epoch = self._last.get(model), self._epoch

        async def in_turn() -> None:
            if before is not None and not before.done():
                await asyncio.wait([before])
            report = await operation
            if epoch == self._epoch:
                report()

        task = self._tasks.create_task(in_turn(), name=f"{kind} {model}")
        self._last[model] = task
        self._running.add(task)
        task.add_done_callback(lambda done: self._ended(model, done, operation))
        return task

    def _ended(
        self,
        model: ModelName,
        task: asyncio.Task[None],
        operation: Coroutine[object, object, Report],
    ) -> None:
        operation.close()  # one that was cancelled before its turn never began
        self._running.discard(task)
        if self._settling.get(model) is task:
            del self._settling[model]
        if self._last.get(model) is task:
            del self._last[model]

    # -- the operations; each returns what to report

    async def _load(self, prepared: PreparedModel, replaces: PreparedModel | None) -> Report:
        if not self._watched(prepared):
            return await self._load_now(prepared, replaces, suspect=False)
        async with self._suspects:
            # It may end the process again. Others that wait for theirs go first.
            await asyncio.sleep(_AFTER_OTHERS)
            return await self._load_now(prepared, replaces, suspect=True)

    async def _load_now(
        self, prepared: PreparedModel, replaces: PreparedModel | None, *, suspect: bool
    ) -> Report:
        model, began = ModelName(prepared.name), self._clock.now()
        try:
            if suspect:
                # A damaged copy may well be what the process died of.
                prepared = await self._repaired(prepared) or prepared
                began = self._clock.now()
            async with self._files_of(prepared):
                prepared, seconds = await self._load_or_repair(prepared, replaces)
        except (ModelRejected, ArtifactError) as error:
            told, passing = str(error), not is_lasting(error)
            return lambda: self._reports.rejected(model, told, passing)
        except (ServerUnreachable, TimeoutError) as error:
            return self._unreachable(model, self._clock.now() - began, error)
        return lambda: self._reports.loaded(prepared, seconds)

    async def _load_or_repair(
        self, prepared: PreparedModel, replaces: PreparedModel | None
    ) -> tuple[PreparedModel, float]:
        """The model as it was loaded at last, and the seconds that the load itself took."""
        try:
            return prepared, await self._measured_load(prepared, replaces)
        except ModelRejected as error:
            try:
                repaired = await self._repaired(prepared)
            except (ArtifactError, ModelRejected) as lost:
                raise ArtifactError(f"{error}; its local copy is damaged: {lost}") from lost
            if repaired is None:
                raise
            return repaired, await self._measured_load(repaired, replaces)

    async def _measured_load(
        self, prepared: PreparedModel, replaces: PreparedModel | None
    ) -> float:
        old = None if replaces is None else self._content(replaces)
        async with self._meter.loading(prepared.name, self._content(prepared), old):
            began = self._clock.now()
            await self._call_load(prepared)
            return self._clock.now() - began

    def _content(self, prepared: PreparedModel) -> Measurable:
        return self._meter.sizes.content(prepared.artifact.name)

    async def _call_load(self, prepared: PreparedModel) -> None:
        if self._silent:
            # The process is as good as dead. Whoever calls it now would be suspected of that.
            await asyncio.get_running_loop().create_future()  # until `abandon`
        model, epoch, silent = ModelName(prepared.name), self._epoch, False
        self._calling[model] = prepared
        try:
            async with asyncio.timeout(self._limits.load):
                await self._server.load(prepared, timeout=self._limits.load)
        except (ServerUnreachable, TimeoutError):
            silent = True  # the process is dead or will be ended: `calls` is to name the model
            raise
        finally:
            if epoch == self._epoch and not silent:
                del self._calling[model]
            elif epoch == self._epoch:
                self._silent = True

    @asynccontextmanager
    async def _files_of(self, prepared: PreparedModel) -> AsyncIterator[None]:
        """They are here while the block runs. Raises ArtifactError, ModelRejected."""
        async with AsyncExitStack() as held:
            with failing_alone(prepared.name, "its local copy"):
                await self._within(held.enter_async_context(self._present(prepared)))
            yield

    async def _repaired(self, prepared: PreparedModel) -> PreparedModel | None:
        """A model whose copy was damaged, with a new one. Raises ArtifactError."""
        with failing_alone(prepared.name, "its local copy"):
            return await self._within(self._repair(prepared))

    async def _within(self, work: Awaitable[T]) -> T:
        """Raises ArtifactError, also when it takes too long."""
        try:
            async with asyncio.timeout(self._limits.load):
                return await work
        except TimeoutError as error:
            reason = f"reading or fetching it took longer than {self._limits.load:.0f} s"
            raise ArtifactError(reason) from error
        except OSError as error:
            raise ArtifactError(f"it cannot be read or replaced: {error}") from error

    def _unreachable(self, model: ModelName, took: float, error: Exception) -> Report:
        call = (str(model), CallKind.LOAD)
        if took < self._limits.load * _NEARLY:
            told = f"it stopped answering while it loaded model '{model}': {error}"
            return lambda: self._reports.stuck(Stuck(told, call, hung=False))
        told = f"the load did not end within {took:.0f} s"

        def hung() -> None:
            # The model is to blame, but its bytes come back only with the end of the process.
            self._hung[model] = told
            self._reports.stuck(Stuck(f"model '{model}': {told}", call, hung=True))

        return hung

    async def _unload(self, model: ModelName, loaded: PreparedModel | None, idle: bool) -> Report:
        content = None if loaded is None else self._content(loaded)
        gave, problem, began = None, "", self._clock.now()
        try:
            async with self._meter.unloading(model, content) as work:
                async with asyncio.timeout(self._limits.unload):
                    try:
                        gave = await self._server.unload(
                            model, timeout=self._limits.unload, idle=idle, measure=work.measure
                        )
                    except UnloadFailed as error:
                        problem = str(error)
                work.said(gave)
        except (ServerUnreachable, TimeoutError) as error:
            told = f"unload of model '{model}' did not end: {error or 'no answer'}"
            hung = self._clock.now() - began >= self._limits.unload * _NEARLY
            return lambda: self._reports.stuck(Stuck(told, (str(model), CallKind.UNLOAD), hung))
        return lambda: self._reports.unloaded(model, problem)

    async def _settle(self, model: ModelName, ticket: Ticket, passed: Mapping[str, int]) -> Report:
        """Until it is so, or `stop_settling`. A server that is dying refuses for a moment: `abandon` ends this then."""
        while True:
            try:
                await self._server.settle(model, passed, timeout=self._limits.settle)
            except ServerUnreachable:
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                return lambda: self._reports.drained(model, ticket)

    async def _verify(self, model: ModelName) -> Report:
        presence = Presence.READY
        try:
            async with asyncio.timeout(self._limits.verify):
                presence = await self._presence(model)
        except TimeoutError:
            pass  # alive but busy: absence may only be concluded from a 404
        return lambda: self._reports.verified(model, presence is not Presence.ABSENT)

    async def _presence(self, model: ModelName) -> Presence:
        """Until the server answers. One that is dying refuses for a moment, and then `abandon` ends this."""
        while True:
            try:
                return await self._server.presence(model, timeout=self._limits.verify)
            except ServerUnreachable:
                await asyncio.sleep(_RETRY_PAUSE)

    async def _describe(self, prepared: PreparedModel) -> Report:
        limit = self._limits.describe
        try:
            async with asyncio.timeout(limit):
                metadata = await self._server.metadata(prepared.name, timeout=limit)
                configuration = await self._server.configuration(prepared.name, timeout=limit)
        except (ServerUnreachable, ModelRejected, TimeoutError):
            return lambda: None  # what the files tell serves until the next load
        found = Description(metadata, configuration)
        return lambda: self._reports.described(prepared, found)
