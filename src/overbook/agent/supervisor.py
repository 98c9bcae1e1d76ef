"""Keeps the inference-server process running: starts it, notices its end or its silence, starts it again.

Says `server_up` and `server_died` to the actor, so that everything known about a process dies with it. Decides
nothing about models. Where a model is suspected of a death, the next process is started at once, since it is the model
that waits (see `blame`); only a death that nobody is suspected of, and a start that failed, are waited after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from overbook import metrics
from overbook.agent.actor import Actor
from overbook.agent.clock import Clock
from overbook.agent.deaths import CallKind, Death, ended_itself
from overbook.agent.memory.guard import margin_of
from overbook.agent.memory.machine import Room
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.recycling import Recycling
from overbook.agent.notices import Notices
from overbook.agent.operations import Stuck
from overbook.agent.pulse import SILENCE_LIMIT, Pulse, Silent
from overbook.agent.servers.launched.replaceable import ReplaceableServer
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
    """Seconds. One that served for ``healthy_after`` is started again without delay, and so is the first to die.

    ``backoff_max``: of the pauses after starts that failed; ``unexplained_max``: after deaths nobody is suspected of.
    ``silence``: for which it may answer nothing while it owes answers. ``dying``: for which a process that broke off
    a call is given to end, so that it is known how it ended.
    """

    start: float = 120.0
    grace: float = 5.0
    backoff_base: float = 0.5
    backoff_max: float = 30.0
    unexplained_max: float = 5.0
    silence: float = SILENCE_LIMIT
    dying: float = 1.0
    drain: float = 60.0
    head_start: float = 3.0
    healthy_after: float = 30.0


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended; see `Death`."""

    reason: str
    own_doing: bool = True
    named: frozenset[tuple[str, CallKind]] = frozenset()
    hung: bool = False


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
        self._kill_end = _End("")
        self.phase = Phase.STARTING
        self.message = ""
        self.base_bytes: int | None = None

    def kill(self, stuck: Stuck) -> None:
        """End the process: it does not answer, or holds memory that only its end gives back."""
        self._kill_end = _End(stuck.reason, named=frozenset({stuck.call}), hung=stuck.hung)
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
                    end = await self._wait_end(actor)
                    if planned := end is None:
                        await self._retire(actor)
                        deaths = 0
                        continue
                    explained = self._withdraw(actor, end)
                    lived = self._clock.now() - began
                    healthy = explained or lived >= self._limits.healthy_after
                deaths = 0 if healthy else deaths + 1
                # The first death of a process that served is no pattern yet.
                await asyncio.sleep(self._backoff(deaths - started, started=started))
        finally:
            self.phase = Phase.STOPPED
            await asyncio.shield(self._server.stop(grace=self._grace))

    @property
    def _more(self) -> str:
        """Where people find more about a failure. One that somebody else started has its log elsewhere."""
        name = f"{self._notices.server}/{self._notices.replica}"
        return "" if self._spare is None else f"; see `overbook logs {name}`"

    def _backoff(self, deaths: int, *, started: bool) -> float:
        if deaths <= 0:
            return 0.0
        longest = self._limits.unexplained_max if started else self._limits.backoff_max
        return min(longest, self._limits.backoff_base * 2.0 ** min(deaths - 1, 20))

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
                self._notices.server_event(
                    "ServerStartFailed", f"{error}{self._more}", warning=True
                )
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
        self._notices.server_event("ServerReady", f"{who} is serving")

    async def _wait_end(self, actor: Actor) -> _End | None:
        """How the process ended; None when it has not, but shall be replaced."""
        pulse = Pulse(
            self._server,
            self._clock,
            limit=self._limits.silence,
            owes=actor.owes,
            noticed=self._silent,
            continued=self._continued,
        )
        async with asyncio.TaskGroup() as tasks:
            exited = tasks.create_task(self._exit(), name="wait for server exit")
            killed = tasks.create_task(self._killed.wait(), name="wait for kill")
            worn = tasks.create_task(self._worn.wait(), name="wait for recycling")
            silent = tasks.create_task(pulse.wait_silent(), name="wait for silence")
            every = (exited, killed, worn, silent)
            await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
            if killed.done() and not exited.done():
                # A call that broke off is often seen before the end of the process that broke it off.
                await asyncio.wait({exited}, timeout=self._limits.dying)
            for each in every:
                each.cancel()
        if exited.done() and not exited.cancelled():
            return exited.result()
        if self._killed.is_set():
            end = self._kill_end
        elif silent.done() and not silent.cancelled():
            found = silent.result()
            told = f"it gave no answer for {_who(found)}, and was killed"
            end = _End(told, bool(found.blocking), found.blocking, hung=True)
        else:
            return None
        await self._server.stop(grace=0.0)
        return end

    async def _exit(self) -> _End:
        try:
            code = await self._server.wait_exit()
        except ServerUnreachable as error:
            return _End(str(error), own_doing=False)  # one that we did not start has no exit code
        told = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _End(told, own_doing=ended_itself(code))

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
            end = exited.result() if exited.done() else None
            if end is None and killed.done():
                end = self._kill_end
            for each in (emptied, exited, killed):
                each.cancel()
        if end is not None:
            self._withdraw(actor, end)
        else:
            self.phase, self.message = (
                Phase.STARTING,
                f"the inference server is being replaced: {reason}",
            )
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

    def _withdraw(self, actor: Actor, end: _End) -> bool:
        """Whether somebody is suspected of its end."""
        self.phase, self.message = Phase.STARTING, f"the inference server ended: {end.reason}"
        self._notices.server_event("ServerDied", self.message + self._more, warning=True)
        calls, named, own_doing = self._server.open_calls(), end.named, end.own_doing
        if calls is None:
            calls = actor.asked_for
        elif named:
            named = named & calls.begun
            if end.hung and not named:
                # What it had not begun when it was given up waited for somebody else.
                named = calls.blocking
            # Else those that are in it had no part in that: it answered them all the time.
            own_doing = bool(named)
        death = Death(self._clock.now(), end.reason, own_doing, calls, named)
        return actor.server_died(death)

    def _continued(self, seconds: float) -> None:
        told = f"the inference server was stopped (SIGSTOP) for {seconds:.0f} s while it owed answers; SIGCONT was sent"
        self._notices.server_event("ServerContinued", told, warning=True)

    def _silent(self, silent: Silent | None) -> None:
        """It has not answered for some time, or (None) does so again."""
        if silent is None:
            self.message = ""
            self._notices.server_event("ServerAnswers", "the inference server answers again")
            return
        self.message = f"the inference server has not answered for {_who(silent)}"
        self._notices.server_event("ServerSilent", self.message, warning=True)


def _who(silent: Silent) -> str:
    """For how long, and in whose code it is."""
    names = [
        f"a {kind.value} of model '{model}'"
        for model, kind in sorted(silent.blocking, key=lambda call: (call[0], call[1].value))
    ]
    where = f", in {' or '.join(names)}" if names else ""
    return f"{silent.seconds:.0f} s{where}"
