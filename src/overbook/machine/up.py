"""`overbook up`: the three parts in one process, with the same services between them as on many machines.

Order of start: scheduler, gateway, agents, then the manifests given. Order of stop: the gateway drains, so that no
request meets a stopping server; then the agents end with their inference servers, while what runs after the grace is
still told so; then the gateway; the scheduler last, once the calls of its API are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Final, TypeVar

from overbook.artifacts.secrets.environment import taken
from overbook.artifacts.secrets.known import SecretPlaces
from overbook.client.control import ControlClient
from overbook.client.http import JsonObject
from overbook.gateway.errors import GatewayStartFailed
from overbook.gateway.part import GatewayConfig, GatewayPart
from overbook.machine import core_dumps, descriptors, garbage, logs, private
from overbook.machine.access import asks_always
from overbook.machine.agents import AgentSettings, AgentSupervisor
from overbook.machine.banner import dialled, up_lines
from overbook.machine.certificates import followed
from overbook.machine.first_server import FIRST_SERVER, said
from overbook.machine.folders import ENVIRONMENTS, StateUnusable, owned, run_dir, socket_target
from overbook.machine.here import told
from overbook.machine.limits import activator_limits, edge_limits
from overbook.machine.options import UpOptions
from overbook.machine.progress import StderrProgress
from overbook.machine.readiness import Readiness
from overbook.machine.room import machine_bytes
from overbook.machine.runtimes import RuntimeKeeper
from overbook.machine.scheduler import scheduler_config
from overbook.machine.stopping import Leaver, Stop, say_stopped
from overbook.runtimes.install import RuntimeInstallError, list_runtimes
from overbook.scheduler.errors import SchedulerError
from overbook.scheduler.part import SchedulerPart, default_settings
from overbook.tls.following import FollowedPair
from overbook.tls.pair import TlsUnusable

_DEFAULT_MEMORY: Final = 2 * 1024**3
_START_SECONDS: Final = 60.0
_APPLY_CHUNK: Final = 500
_STOP_SECONDS: Final = 15.0
_READINESS: Final = "readiness"

# What its words are enough for.
_EXPECTED: Final = (StateUnusable, SchedulerError, GatewayStartFailed, TlsUnusable)

T = TypeVar("T")

log = logging.getLogger(__name__)


class UpFailed(Exception):
    """Overbook could not start, or a part ended. One line for people."""


def run_up(options: UpOptions) -> int:
    """Run until SIGINT or SIGTERM. The exit code: 0 stopped as asked, 1 failed with the reason on stderr."""
    private.from_now_on()
    try:
        with owned(options.state_dir):
            log_file = logs.configure(options.state_dir, "overbook")
            private.mend(options.state_dir)
            garbage.settle()
            descriptors.raise_limit()
            core_dumps.switch_off()
            asyncio.run(_Up(options, log_file).run())
    except (*_EXPECTED, UpFailed, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    say_stopped()
    return 0


class _Up:
    def __init__(self, options: UpOptions, log_file: Path) -> None:
        self._options = options
        self._asks_always = asks_always(options.host, insecure=options.insecure)
        self._log_file = log_file
        self._run_dir = run_dir(options.state_dir)
        self._readiness = Readiness()
        self._stop = Stop(options.grace)
        self._running: list[asyncio.Task[None]] = []
        self._scheduler: SchedulerPart | None = None
        self._gateway: GatewayPart | None = None
        self._agents: AgentSupervisor | None = None
        self._made_server = False
        self._variables: dict[str, str] = {}
        self._tls: FollowedPair | None = None

    def _url(self, port: int) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{dialled(self._options.host)}:{port}"

    def _client(self) -> ControlClient:
        """Asks our own control API."""
        url = self._url(self._options.api_port)
        if (scheduler := self._scheduler) is None:
            return ControlClient(url, timeout=_START_SECONDS)
        token, context = scheduler.own_token, scheduler.own_context()
        return ControlClient(url, timeout=_START_SECONDS, token=token, context=context)

    async def run(self) -> None:
        # Before the first child begins, which would have them.
        self._variables = taken(os.environ)
        with self._stop.on_signals():
            async with followed(self._options.tls) as self._tls:
                try:
                    with self._told():
                        await self._start()
                        await self._until_stopped(self._stop.asked.wait())
                finally:
                    await self._stop_all()

    def _told(self) -> contextlib.AbstractContextManager[None]:
        """The command line on this machine finds us."""
        options = self._options
        api, data = self._url(options.api_port), self._url(options.port)
        return told(options.state_dir, api, data, self._tls)

    def _gateway_config(self, target: str) -> GatewayConfig:
        """``target``: the scheduler's."""
        options = self._options
        return GatewayConfig(
            state_dir=options.state_dir,
            run_dir=self._run_dir,
            scheduler_target=target,
            host=options.host,
            port=options.port,
            activation_timeout=options.activation_timeout,
            limits=activator_limits(options.limits),
            edge=edge_limits(options.limits),
            asks_always=self._asks_always,
            tls=self._tls,
        )

    async def _start(self) -> None:
        options = self._options
        target = socket_target(self._run_dir, "scheduler")
        defaults = default_settings(
            memory=self._memory, overcommit=options.overcommit, machine=machine_bytes()
        )
        config = scheduler_config(
            options.state_dir,
            listen=target,
            host=options.host,
            api_port=options.api_port,
            api=options.api,
            defaults=defaults,
            alone=False,
            asks_always=self._asks_always,
            tls=self._tls,
            peers=None,
        )
        self._scheduler = scheduler = SchedulerPart(config, self._readiness.missing)
        self._begin("scheduler", scheduler.run())
        await self._until_stopped(scheduler.serving.wait())
        if self._stop.asked.is_set():
            return
        self._gateway = gateway = GatewayPart(self._gateway_config(target))
        self._begin("gateway", gateway.run())
        await self._until_stopped(gateway.serving.wait())
        if self._stop.asked.is_set():
            return
        self._agents = supervisor = AgentSupervisor(
            state_dir=options.state_dir,
            run_dir=self._run_dir,
            scheduler=target,
            keeper=RuntimeKeeper(options.state_dir / ENVIRONMENTS, StderrProgress()),
            settings=AgentSettings(
                silence_limit=options.silence_limit,
                log_size=options.server_log_size,
                artifacts=options.artifacts,
                secrets=SecretPlaces(options.artifacts.secrets, self._variables),
            ),
        )
        self._begin("agents", supervisor.run())
        models = await self._until_stopped(asyncio.to_thread(self._apply))
        if models is None:
            return
        await self._banner()
        if self._made_server:
            for line in said(
                self._memory, defaults.overcommit, option=options.overcommit, environ=os.environ
            ):
                print(line, flush=True)
        self._begin(_READINESS, self._announce_ready(models))

    def _begin(self, name: str, part: Coroutine[object, object, None]) -> None:
        self._running.append(asyncio.create_task(part, name=name))

    async def _until_stopped(self, wait: Awaitable[T]) -> T | None:
        """The result of ``wait``; None when Overbook was told to stop first. Raises UpFailed when a part ends."""
        waiting = asyncio.ensure_future(wait)
        stopping = asyncio.ensure_future(self._stop.asked.wait())
        try:
            while not (waiting.done() or stopping.done()):
                await asyncio.wait(
                    (waiting, stopping, *self._running), return_when=asyncio.FIRST_COMPLETED
                )
                self._check_parts()
            return waiting.result() if waiting.done() else None
        finally:
            waiting.cancel()
            stopping.cancel()

    def _check_parts(self) -> None:
        """A part that ends by itself is a fault, whatever it says."""
        for task in [task for task in self._running if task.done()]:
            self._running.remove(task)  # what is raised here need not be told again at the stop
            if task.get_name() == _READINESS and task.exception() is None:
                continue
            error = _first_cause(task.exception())
            if isinstance(error, (SchedulerError, GatewayStartFailed)):
                raise UpFailed(str(error)) from error
            log.error("part %s ended", task.get_name(), exc_info=error)
            raise UpFailed(
                f"the {task.get_name()} ended: {error or 'without an error'}; see {self._log_file}"
            ) from error

    def _apply(self) -> list[str]:
        """Apply the manifests given, and a first Server when there is none. Names of the models given."""
        documents = list(self._options.documents)
        with self._client() as client:
            given = any(document.get("kind") == "Server" for document in documents)
            if not given and not client.list("server"):
                # So that the first model has a place to go.
                documents.insert(0, FIRST_SERVER)
                self._made_server = True
            refused: list[str] = []
            for start in range(0, len(documents), _APPLY_CHUNK):
                reply = client.apply(documents[start : start + _APPLY_CHUNK])
                for warning in reply.warnings:
                    log.warning("%s", warning)
                for applied in reply.results:
                    if applied.error:
                        refused.append(f"{applied.kind.lower()}/{applied.name}: {applied.error}")
        if refused:
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise UpFailed(refused[0] + more)
        return [_name(document) for document in documents if document.get("kind") == "Model"]

    @property
    def _memory(self) -> int:
        """The budget, in bytes, of a Server that does not say: Seldon's manifests cannot."""
        return self._options.memory or min(_DEFAULT_MEMORY, machine_bytes() // 2)

    async def _banner(self) -> None:
        try:
            runtimes = await asyncio.to_thread(list_runtimes)
        except RuntimeInstallError:
            runtimes = []  # there is no folder for them; whoever needs one says so
        print("\n".join(up_lines(self._options, self._log_file, runtimes)), flush=True)

    async def _announce_ready(self, models: list[str]) -> None:
        await self._readiness.wait(self._client, models)
        print("ready; stop with Ctrl-C", flush=True)

    async def _stop_all(self) -> None:
        """Also when a part ended by itself: what is left of Overbook still stops in order."""
        if self._scheduler is not None:
            self._scheduler.leave()
        await self._end(_READINESS)
        drained = await self._drain("gateway", self._gateway)
        if not drained and self._agents is not None:
            await self._agents.refuse("the grace is over; what is in flight is cut")
        await self._end("agents")
        if not drained and self._gateway is not None and self._task("gateway") is not None:
            await self._gateway.wait_told()
        await self._end("gateway")
        await self._drain("scheduler", self._scheduler)
        await self._end("scheduler")

    def _task(self, name: str) -> asyncio.Task[None] | None:
        """None when it never began, or ended by itself."""
        return next((task for task in self._running if task.get_name() == name), None)

    async def _drain(self, name: str, part: Leaver | None) -> bool:
        """Whether nothing runs in it any more."""
        task = self._task(name)
        return part is None or task is None or await self._stop.let_leave(part, task)

    async def _end(self, name: str) -> None:
        """Bounded; what does not end is left to the end of the process."""
        task = self._task(name)
        if task is None:
            return
        task.cancel("Overbook stops")
        await asyncio.wait({task}, timeout=_STOP_SECONDS)
        if not task.done():
            log.error("part %s did not stop within %.0f s", name, _STOP_SECONDS)
        elif not task.cancelled() and task.exception() is not None:
            log.error("part %s failed", name, exc_info=task.exception())


def _first_cause(error: BaseException | None) -> BaseException | None:
    """What lies inside groups of one: task groups wrap what happened."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _name(document: JsonObject) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""
