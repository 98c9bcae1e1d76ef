"""The agent's stream to the scheduler: hello, assignments and commands down; status and events up.

When the scheduler is gone the agent works on with what it was told last, and reports everything again when it is
back. State changes are sent at once (gathered over FLUSH), usage alone at a slower pace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio

from overbook.agent.notices import Notices
from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from overbook.wire.channel import CHANNEL_OPTIONS, SYNC_CHUNK

log = logging.getLogger(__name__)

FLUSH: Final = 0.1
_USAGE_PACE: Final = 1.0
_RETRY: Final = 0.5


@dataclass(frozen=True, slots=True)
class LinkHandlers:
    """What the link asks the rest of the agent. ``command`` returns why it failed, or an empty string."""

    assignments: Callable[[pb.AssignmentUpdate], None]
    command: Callable[[pb.Command], Awaitable[str]]
    budget: Callable[[int], None]
    model_report: Callable[[str], pb.ModelReport | None]
    server_report: Callable[[], pb.ServerReport]
    all_models: Callable[[], list[str]]


class SchedulerLink:
    """Connects to ``target`` again and again until cancelled."""

    def __init__(
        self, *, target: str, hello: pb.AgentHello, notices: Notices, handlers: LinkHandlers
    ) -> None:
        self._target = target
        self._hello = hello
        self._notices = notices
        self._handlers = handlers
        self._results: list[pb.CommandResult] = []
        self._last_server: pb.ServerReport | None = None
        self._was_connected = False

    async def run(self) -> None:
        lost = False
        async with grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            while True:
                try:
                    await self._session(stub)
                    why = "the scheduler closed the stream"
                except grpc.aio.AioRpcError as error:
                    why = f"{error.code().name}: {error.details()}"
                if not lost:
                    log.warning("no scheduler at %s (%s); working on without", self._target, why)
                lost = not self._was_connected
                await asyncio.sleep(_RETRY)

    async def _session(self, stub: scheduler_pb2_grpc.SchedulerServiceAsyncStub) -> None:
        self._was_connected = False
        call = stub.AgentSession(self._outgoing())
        commands: set[asyncio.Task[None]] = set()
        try:
            async for message in call:
                self._was_connected = True
                match message.WhichOneof("message"):
                    case "assignments":
                        self._handlers.assignments(message.assignments)
                    case "configure":
                        self._handlers.budget(message.configure.memory_bytes)
                    case "command":
                        task = asyncio.create_task(
                            self._command(message.command), name=f"command {message.command.id}"
                        )
                        commands.add(task)
                        task.add_done_callback(commands.discard)
        finally:
            call.cancel()
            for task in commands:
                task.cancel()

    async def _command(self, command: pb.Command) -> None:
        reason = await self._handlers.command(command)
        self._results.append(pb.CommandResult(id=command.id, ok=not reason, reason=reason))
        self._notices.wake.set()

    async def _outgoing(self) -> AsyncIterator[pb.AgentToScheduler]:
        yield pb.AgentToScheduler(hello=self._hello)
        self._last_server = None
        self._notices.dirty.update(self._handlers.all_models())
        next_usage = 0.0
        loop = asyncio.get_running_loop()
        while True:
            self._notices.wake.clear()
            for result in self._results:
                yield pb.AgentToScheduler(command_result=result)
            self._results.clear()
            while self._notices.events:
                yield pb.AgentToScheduler(event=self._notices.events.popleft())
            if loop.time() >= next_usage:
                self._notices.dirty |= self._notices.used_only
                self._notices.used_only.clear()
                next_usage = loop.time() + _USAGE_PACE
            for status in self._statuses():
                yield pb.AgentToScheduler(status=status)
            try:
                async with asyncio.timeout(_USAGE_PACE):
                    await self._notices.wake.wait()
            except TimeoutError:
                continue
            if not self._results:
                await asyncio.sleep(FLUSH)

    def _statuses(self) -> list[pb.StatusReport]:
        dirty, gone = sorted(self._notices.dirty), sorted(self._notices.gone)
        self._notices.dirty.clear()
        self._notices.gone.clear()
        reports = [r for r in map(self._handlers.model_report, dirty) if r is not None]
        statuses = [
            pb.StatusReport(models=reports[start : start + SYNC_CHUNK])
            for start in range(0, len(reports), SYNC_CHUNK)
        ]
        server = self._handlers.server_report()
        if server != self._last_server or gone:
            statuses.append(pb.StatusReport(gone=gone, server=server))
            self._last_server = server
        return statuses
