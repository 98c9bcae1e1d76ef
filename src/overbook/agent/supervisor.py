"""Keeps the inference-server process running: starts it, notices its end, starts it again with backoff.

Says `server_up` and `server_down` to the actor, so that everything known about a process dies with it. Decides
nothing about models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from overbook import metrics
from overbook.agent.actor import Actor
from overbook.agent.clock import Clock
from overbook.agent.memory.guard import margin_of
from overbook.agent.memory.machine import Room
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.recycling import Recycling
from overbook.agent.notices import Notices
from overbook.agent.replaceable import ReplaceableServer
from overbook.agent.servers.protocol import InferenceServer, ServerStartFailed, ServerUnreachable
from overbook.wire import agent_pb2 as pb


class Phase(Enum):
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """Seconds. One that served for ``healthy_after`` is started again without delay, and so is the first to die."""

    start: float = 120.0
    grace: float = 5.0
    backoff_base: float = 0.5
    backoff_max: float = 30.0
    drain: float = 60.0
    head_start: float = 3.0
    healthy_after: float = 30.0


class Supervisor:
    """One server process and its restarts. ``base_bytes``: its memory with no model loaded; None when unknown.

    ``spare``: the same server, where a fresh process can be started beside the old one. ``room``: what the machine
    has left for that.
    """

    def __init__(
        self,
        *,
        server: InferenceServer,
        notices: Notices,
        clock: Clock,
        limits: RestartLimits,
        meter: Meter,
        recycling: Recycling | None = None,
        spare: ReplaceableServer | None = None,
        room: Callable[[], Room | None] = lambda: None,
    ) -> None:
        self._server = server
        self._meter = meter
        self._recycling = recycling or Recycling()
        self._spare = spare
        self._room = room
        self._worn = asyncio.Event()
        self._worn_reason = ""
        self._notices = notices
        self._clock = clock
        self._limits = limits
        self._epoch = 0
        self._grace = limits.grace
        self._killed = asyncio.Event()
        self._kill_reason = ""
        self.phase = Phase.STARTING
        self.message = ""
        self.base_bytes: int | None = None

    def kill(self, reason: str) -> None:
        """End the process: it does not answer, or holds memory that only its end gives back."""
        self._kill_reason = reason
        self._killed.set()

    def recycle(self, reason: str) -> None:
        """Replace the process by a fresh one, without failing a request."""
        if self.phase is Phase.READY and not self._worn.is_set():
            self._worn_reason = reason
            self._worn.set()

    @property
    def recycling(self) -> bool:
        """Whether the process is about to be replaced."""
        return self._worn.is_set()

    def leave(self) -> None:
        """The agent is about to stop: say so to the scheduler, and replace the process no more."""
        self.phase, self.message = Phase.STOPPING, "its agent is stopping"
        self._notices.server_event("AgentStopping", "requests that run are answered first")

    def hurry(self) -> None:
        """At the end the process gets no time to finish what it does."""
        self._grace = 0.0

    async def run(self, actor: Actor) -> None:
        """Until cancelled; then the process is stopped."""
        deaths, planned = 0, False
        try:
            while True:
                healthy = started = False
                if await self._start():
                    started = True
                    began = self._clock.now()
                    self._recycling.began(began, recycled=planned)
                    self._announce(actor)
                    reason = await self._wait_end()
                    if planned := reason is None:
                        await self._retire(actor)
                        deaths = 0
                        continue
                    self._withdraw(actor, reason)
                    healthy = self._clock.now() - began >= self._limits.healthy_after
                deaths = 0 if healthy else deaths + 1
                # The first death of a process that served is no pattern yet.
                await asyncio.sleep(self._backoff(deaths - started))
        finally:
            self.phase = Phase.STOPPED
            await asyncio.shield(self._server.stop(grace=self._grace))

    def _backoff(self, deaths: int) -> float:
        if deaths <= 0:
            return 0.0
        return min(self._limits.backoff_max, self._limits.backoff_base * 2.0 ** min(deaths - 1, 20))

    async def _start(self) -> bool:
        self.phase = Phase.STARTING
        if self._epoch:
            metrics.SERVER_RESTARTS.labels(*self._notices.labels).inc()
        try:
            if self._spare is None or not await self._spare.swap():
                await self._server.start(timeout=self._limits.start)
        except (ServerStartFailed, OSError) as error:  # OSError: no disk space, no more processes
            # The same again every few seconds is no news.
            if self.message != str(error):
                self._notices.server_event("ServerStartFailed", str(error), warning=True)
            self.phase, self.message = Phase.FAILED, str(error)
            return False
        reading = await self._meter.began()
        self.base_bytes = None if reading is None else reading.total
        return True

    def _announce(self, actor: Actor) -> None:
        self._epoch += 1
        self._killed.clear()
        self._worn.clear()
        self.phase, self.message = Phase.READY, ""
        addresses = self._server.addresses
        address = pb.ServerAddress(
            rest=addresses.rest,
            grpc=addresses.grpc,
            infer=addresses.infer,
            counts_requests=self._server.counts_requests,
            epoch=self._epoch,
        )
        actor.followers.set_address(address)
        actor.server_up()
        who = f"process {self._server.pid}" if self._server.pid else f"the one at {addresses.rest}"
        self._notices.server_event("ServerReady", f"{who} serves")

    async def _wait_end(self) -> str | None:
        """Why the process ended, in words; None when it has not, but shall be replaced."""
        async with asyncio.TaskGroup() as tasks:
            exited = tasks.create_task(self._exit(), name="wait for server exit")
            killed = tasks.create_task(self._killed.wait(), name="wait for kill")
            worn = tasks.create_task(self._worn.wait(), name="wait for recycling")
            await asyncio.wait((exited, killed, worn), return_when=asyncio.FIRST_COMPLETED)
            for each in (exited, killed, worn):
                each.cancel()
        if exited.done() and not exited.cancelled():
            return exited.result()
        if not self._killed.is_set():
            return None
        await self._server.stop(grace=0.0)
        return self._kill_reason

    async def _exit(self) -> str:
        try:
            code = await self._server.wait_exit()
        except ServerUnreachable as error:
            return str(error)  # one that we did not start has no exit code
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _retire(self, actor: Actor) -> None:
        """Empty the process and end it; the next one is started before that where there is room for both."""
        reason = self._worn_reason
        metrics.RECYCLES.labels(*self._notices.labels).inc()
        self._notices.server_event("ServerRecycled", f"replacing the inference server: {reason}")
        async with asyncio.TaskGroup() as tasks:
            preparing = tasks.create_task(self._prepare(), name="start a spare")
            # What loses memory goes on doing so; so the old one is not kept at work for long.
            await asyncio.wait({preparing}, timeout=self._limits.head_start)
            emptied = tasks.create_task(actor.empty(timeout=self._limits.drain), name="drain all")
            exited = tasks.create_task(self._exit(), name="wait for server exit")
            killed = tasks.create_task(self._killed.wait(), name="wait for kill")
            await asyncio.wait((emptied, exited, killed), return_when=asyncio.FIRST_COMPLETED)
            for each in (emptied, exited, killed):
                each.cancel()
        self.phase, self.message = Phase.STARTING, f"the inference server is replaced: {reason}"
        actor.server_down(reason)
        if not preparing.result():
            await self._server.stop(grace=self._limits.grace)

    async def _prepare(self) -> bool:
        """Whether a fresh process stands ready beside the old one."""
        room = self._room()
        if self._spare is None or room is None:
            return False
        if room.available < (self.base_bytes or 0) + 2 * margin_of(room.total):
            return False
        try:
            await self._spare.prepare(timeout=self._limits.start)
        except (ServerStartFailed, OSError) as error:
            self._notices.server_event("ServerStartFailed", str(error), warning=True)
            return False
        return True

    def _withdraw(self, actor: Actor, reason: str) -> None:
        self.phase, self.message = Phase.STARTING, f"the inference server ended: {reason}"
        self._notices.server_event("ServerDied", self.message, warning=True)
        actor.server_down(reason)
