"""Keeps the inference-server process running: starts it, notices its end, starts it again with backoff.

Says `server_up` and `server_down` to the actor, so that everything known about a process dies with it. Decides
nothing about models.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum

from overbook import metrics
from overbook.agent.actor import Actor
from overbook.agent.clock import Clock
from overbook.agent.memory.meter import Meter
from overbook.agent.notices import Notices
from overbook.agent.servers.protocol import InferenceServer, ServerStartFailed, ServerUnreachable
from overbook.wire import agent_pb2 as pb


class Phase(Enum):
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """Seconds. One that served for ``healthy_after`` is started again without delay, and so is the first to die."""

    start: float = 120.0
    grace: float = 5.0
    backoff_base: float = 0.5
    backoff_max: float = 30.0
    healthy_after: float = 30.0


class Supervisor:
    """One server process and its restarts. ``base_bytes``: its memory with no model loaded; None when unknown."""

    def __init__(
        self,
        *,
        server: InferenceServer,
        notices: Notices,
        clock: Clock,
        limits: RestartLimits,
        meter: Meter,
    ) -> None:
        self._server = server
        self._meter = meter
        self._notices = notices
        self._clock = clock
        self._limits = limits
        self._epoch = 0
        self._killed = asyncio.Event()
        self._kill_reason = ""
        self.phase = Phase.STARTING
        self.message = ""
        self.base_bytes: int | None = None

    def kill(self, reason: str) -> None:
        """End the process: it does not answer, or holds memory that only its end gives back."""
        self._kill_reason = reason
        self._killed.set()

    async def run(self, actor: Actor) -> None:
        """Until cancelled; then the process is stopped."""
        deaths = 0
        try:
            while True:
                healthy = started = False
                if await self._start():
                    started = True
                    began = self._clock.now()
                    self._announce(actor)
                    reason = await self._wait_end()
                    self._withdraw(actor, reason)
                    healthy = self._clock.now() - began >= self._limits.healthy_after
                deaths = 0 if healthy else deaths + 1
                # The first death of a process that served is no pattern yet.
                await asyncio.sleep(self._backoff(deaths - started))
        finally:
            self.phase = Phase.STOPPED
            await asyncio.shield(self._server.stop(grace=self._limits.grace))

    def _backoff(self, deaths: int) -> float:
        if deaths <= 0:
            return 0.0
        return min(self._limits.backoff_max, self._limits.backoff_base * 2.0 ** min(deaths - 1, 20))

    async def _start(self) -> bool:
        self.phase = Phase.STARTING
        if self._epoch:
            metrics.SERVER_RESTARTS.labels(*self._notices.labels).inc()
        try:
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
        self.phase, self.message = Phase.READY, ""
        addresses = self._server.addresses
        address = pb.ServerAddress(
            rest=addresses.rest,
            grpc=addresses.grpc,
            infer=addresses.infer,
            epoch=self._epoch,
        )
        actor.followers.set_address(address)
        actor.server_up()
        who = f"process {self._server.pid}" if self._server.pid else f"the one at {addresses.rest}"
        self._notices.server_event("ServerReady", f"{who} serves")

    async def _wait_end(self) -> str:
        """Why the process ended, in words."""
        async with asyncio.TaskGroup() as tasks:
            exited = tasks.create_task(self._exit(), name="wait for server exit")
            killed = tasks.create_task(self._killed.wait(), name="wait for kill")
            await asyncio.wait((exited, killed), return_when=asyncio.FIRST_COMPLETED)
            if exited.done():
                killed.cancel()
                return exited.result()
            exited.cancel()
        await self._server.stop(grace=0.0)
        return self._kill_reason

    async def _exit(self) -> str:
        try:
            code = await self._server.wait_exit()
        except ServerUnreachable as error:
            return str(error)  # one that we did not start has no exit code
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _withdraw(self, actor: Actor, reason: str) -> None:
        self.phase, self.message = Phase.STARTING, f"the inference server ended: {reason}"
        self._notices.server_event("ServerDied", self.message, warning=True)
        actor.server_down(reason)
