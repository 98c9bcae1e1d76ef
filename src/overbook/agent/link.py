"""The agent's stream to the scheduler: hello, assignments and commands down; status and events up.

When the scheduler is gone the agent works on with what it was told last, and reports everything again when it is
back. State changes are sent at once (gathered over FLUSH), usage alone at a slower pace.

Reads and writes the stream itself: an iterator of requests handed to gRPC outlives its stream, and would go on
taking notices for a scheduler that is no longer there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Protocol

import grpc
import grpc.aio

from overbook.agent.notices import Notices
from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from overbook.wire.channel import SYNC_CHUNK
from overbook.wire.in_process import connect
from overbook.wire.peers import Peers, reason

log = logging.getLogger(__name__)

FLUSH: Final = 0.1
_USAGE_PACE: Final = 1.0
_RETRY: Final = 0.5


@dataclass(frozen=True, slots=True)
class LinkHandlers:
    """What the link asks the rest of the agent. ``command`` returns why it failed, or an empty string; ``look``: what
    is at these addresses; ``read_log``: what is in the inference server's log; ``secrets``: all that the scheduler has.
    """

    assignments: Callable[[pb.AssignmentUpdate], None]
    command: Callable[[pb.Command], Awaitable[str]]
    look: Callable[[pb.Look], Awaitable[pb.Surveys]]
    read_log: Callable[[pb.ReadLog], Awaitable[pb.LogPiece]]
    configure: Callable[[pb.Configure], None]
    secrets: Callable[[pb.Secrets], None]
    model_report: Callable[[str], pb.ModelReport | None]
    server_report: Callable[[], pb.ServerReport]
    all_models: Callable[[], list[str]]


class Stream(Protocol):
    """One AgentSession, as the client holds it."""

    async def read(self) -> object:
        """A SchedulerToAgent, or something else at the end. Raises grpc.aio.AioRpcError."""
        ...

    async def write(self, message: pb.AgentToScheduler) -> None: ...

    def cancel(self) -> bool: ...


class SchedulerLink:
    """Connects to ``target`` again and again until cancelled. ``peers``: how parts know each other at a port."""

    def __init__(
        self,
        *,
        target: str,
        peers: Peers | None,
        hello: pb.AgentHello,
        notices: Notices,
        handlers: LinkHandlers,
    ) -> None:
        self._target = target
        self._peers = peers
        self._hello = hello
        self._notices = notices
        self._handlers = handlers

    async def run(self) -> None:
        told = False
        async with connect(self._target, self._peers) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            while True:
                session = Session(stub.AgentSession(), self._hello, self._notices, self._handlers)
                why = await session.run()
                if session.heard or not told:
                    log.warning("no scheduler at %s (%s); working on without", self._target, why)
                told = True
                await asyncio.sleep(_RETRY)


class Session:
    """One stream, from hello to its end. ``heard``: the scheduler said something."""

    def __init__(
        self, stream: Stream, hello: pb.AgentHello, notices: Notices, handlers: LinkHandlers
    ) -> None:
        self._stream = stream
        self._hello = hello
        self._notices = notices
        self._handlers = handlers
        self._results: list[pb.AgentToScheduler] = []
        self._heard = self._said_heard = 0
        self._result_ready = asyncio.Event()
        self._commands: set[asyncio.Task[None]] = set()
        self._last_server: pb.ServerReport | None = None
        self._why = "the scheduler closed the stream"
        self.heard = False

    async def run(self) -> str:
        """Until the stream breaks; why, in words. Commands under way then are given up: nobody waits for them."""
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(self._listen(tasks), name="hear the scheduler")
            speaker = tasks.create_task(self._speak(), name="tell the scheduler")
            try:
                await asyncio.wait((listener, speaker), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._stream.cancel()
                for task in (listener, speaker, *self._commands):
                    task.cancel()
        return self._why

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                message = await self._stream.read()
            except grpc.aio.AioRpcError as error:
                self._why = f"{error.code().name}: {reason(error)}"
                return
            if not isinstance(message, pb.SchedulerToAgent):
                return
            self.heard = True
            match message.WhichOneof("message"):
                case "assignments":
                    self._handlers.assignments(message.assignments)
                    self._take_note(message.assignments.revision)
                case "secrets":
                    self._handlers.secrets(message.secrets)
                case "configure":
                    self._handlers.configure(message.configure)
                case "command":
                    self._begin(tasks, self._command(message.command))
                case "look":
                    self._begin(tasks, self._look(message.look))
                case "read_log":
                    self._begin(tasks, self._read_log(message.read_log))

    def _begin(self, tasks: asyncio.TaskGroup, answer: Coroutine[None, None, None]) -> None:
        task = tasks.create_task(answer, name="answer the scheduler")
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    def _take_note(self, revision: int) -> None:
        """People may be waiting for the word that this is in force here."""
        if revision:
            self._heard = revision
            self._result_ready.set()
            self._notices.wake.set()

    async def _command(self, command: pb.Command) -> None:
        reason = await self._handlers.command(command)
        result = pb.CommandResult(id=command.id, ok=not reason, reason=reason)
        self._answer(pb.AgentToScheduler(command_result=result))

    async def _look(self, asked: pb.Look) -> None:
        self._answer(pb.AgentToScheduler(surveys=await self._handlers.look(asked)))

    async def _read_log(self, asked: pb.ReadLog) -> None:
        self._answer(pb.AgentToScheduler(log=await self._handlers.read_log(asked)))

    def _answer(self, answer: pb.AgentToScheduler) -> None:
        self._results.append(answer)
        self._result_ready.set()
        self._notices.wake.set()

    async def _speak(self) -> None:
        try:
            await self._stream.write(pb.AgentToScheduler(hello=self._hello))
            self._notices.dirty.update(self._handlers.all_models())
            next_usage = 0.0
            while True:
                self._notices.wake.clear()
                await self._tell_results()
                await self._tell_events()
                now = asyncio.get_running_loop().time()
                if now >= next_usage:
                    self._notices.dirty |= self._notices.used_only
                    self._notices.used_only.clear()
                    next_usage = now + _USAGE_PACE
                await self._tell_status()
                if await _within(self._notices.wake, _USAGE_PACE):
                    await _within(self._result_ready, FLUSH)
        except grpc.aio.AioRpcError as error:
            # The listener hears of it as well, if it comes to that.
            self._why = f"{error.code().name}: {reason(error)}"
        except asyncio.InvalidStateError:
            return  # the stream ended in good order; the listener knows

    async def _tell_results(self) -> None:
        self._result_ready.clear()
        if self._said_heard < self._heard:
            self._said_heard = self._heard
            await self._stream.write(pb.AgentToScheduler(heard=self._heard))
        results, self._results = self._results, []
        for result in results:
            await self._stream.write(result)

    async def _tell_events(self) -> None:
        events = self._notices.events
        while events:
            event, told = events.popleft(), False
            try:
                await self._stream.write(pb.AgentToScheduler(event=event))
                told = True
            finally:
                if not told and len(events) != events.maxlen:
                    events.appendleft(event)

    async def _tell_status(self) -> None:
        dirty, gone = sorted(self._notices.dirty), sorted(self._notices.gone)
        self._notices.dirty.clear()
        self._notices.gone.clear()
        told = False
        try:
            for start in range(0, len(dirty), SYNC_CHUNK):
                reports = map(self._handlers.model_report, dirty[start : start + SYNC_CHUNK])
                models = [report for report in reports if report is not None]
                await self._status(pb.StatusReport(models=models))
            server = self._handlers.server_report()
            if server != self._last_server or gone:
                await self._status(pb.StatusReport(gone=gone, server=server))
                self._last_server = server
            told = True
        finally:
            if not told:
                # What changed is told again in full; what is gone nobody but this list remembers.
                here = self._handlers.all_models()
                self._notices.gone.update(set(gone).difference(here))

    async def _status(self, status: pb.StatusReport) -> None:
        await self._stream.write(pb.AgentToScheduler(status=status))


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set before the time was over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
