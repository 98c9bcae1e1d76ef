"""Runs an agent for every server replica the scheduler lists, and starts again the ones that fail.

On Kubernetes the operator does this job instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import grpc.aio

from overbook.agent.part import AgentConfig, AgentPart, MachineArtifacts, view_name
from overbook.agent.servers.attached.connection import Attachment
from overbook.artifacts.secrets.known import SecretPlaces
from overbook.machine.artifacts import drop_former, opened
from overbook.machine.folders import socket_target
from overbook.machine.news import News
from overbook.machine.offers import Offer, attached_offer, installed_offer
from overbook.machine.options import SERVER_LOG_SIZE, SILENCE_LIMIT, ArtifactOptions
from overbook.machine.runtimes import RuntimeKeeper
from overbook.machine.unexpected import in_a_line
from overbook.runtimes.in_use import held
from overbook.runtimes.install import (
    RuntimeEnvironment,
    RuntimeInstallError,
    UnknownRuntime,
    environment,
)
from overbook.runtimes.own import Wish, state_of
from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from overbook.wire.in_process import connect

log = logging.getLogger(__name__)

_RESTART: Final = 2.0
_RECONNECT: Final = 0.5
# How long the scheduler may take to hear of one change.
_TELL_SECONDS: Final = 10.0
# What failed is tried again with growing pauses, up to this one; after an agent ran for so long they begin anew.
_LATEST: Final = 60.0
_STEADY: Final = 60.0
# How often environments are looked for that no Server uses any more.
_PRUNE: Final = 3600.0
# How often somebody looks whether a runtime was given another environment, and how long the next replica then
# goes on with the old one, so that not all are away at once.
_LOOK: Final = 2.0
_ONE_AFTER_ANOTHER: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What makes an agent another one. Memory changes while it runs; overcommit is the scheduler's business."""

    server: str
    replica: int
    runtime: str
    extra: tuple[str, ...]
    attachment: Attachment | None
    deny_pickle: bool = False


@dataclass(frozen=True, slots=True)
class _Asked:
    """``state``: of the file behind the wish; without a wish, the runtime's environment, None while it has none."""

    wish: Wish | None
    state: tuple[int, ...] | Path | None


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What all agents of this machine are given; see `AgentConfig`."""

    silence_limit: float = SILENCE_LIMIT
    log_size: int = SERVER_LOG_SIZE
    artifacts: ArtifactOptions = field(default_factory=ArtifactOptions)
    secrets: SecretPlaces = field(default_factory=SecretPlaces)


class AgentSupervisor:
    """``keeper``: installs what is missing for a server."""

    def __init__(
        self,
        *,
        state_dir: Path,
        run_dir: Path,
        scheduler: str,
        keeper: RuntimeKeeper,
        settings: AgentSettings,
    ) -> None:
        self._settings = settings
        self._artifacts: MachineArtifacts | None = None
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._scheduler = scheduler
        self._keeper = keeper
        self._news = News()
        self._running: dict[_Wanted, asyncio.Task[None]] = {}
        self._parts: dict[_Wanted, AgentPart] = {}
        self._specs: dict[str, pb.ServerSpec] = {}

    async def refuse(self, why: str) -> None:
        """The inference servers get no time to finish what they do when `run` ends."""
        for part in self._parts.values():
            await part.refuse(why)

    async def run(self) -> None:
        """Follow the scheduler's list of Servers until cancelled."""
        await asyncio.to_thread(drop_former, self._state_dir)
        async with (
            opened(
                self._state_dir, self._settings.artifacts, self._settings.secrets
            ) as self._artifacts,
            asyncio.TaskGroup() as tasks,
            connect(self._scheduler, None) as channel,
        ):
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            tasks.create_task(
                self._news.run(partial(stub.TellNews, timeout=_TELL_SECONDS)),
                name="news of server replicas",
            )
            tasks.create_task(self._prune(), name="unused environments")
            while True:
                self._news.all_again()
                try:
                    async for update in stub.WatchServers(pb.WatchServersRequest(machine="local")):
                        await self._follow(update, tasks)
                except grpc.aio.AioRpcError as error:
                    # The agents that run go on; only changes of the list wait.
                    log.debug("no scheduler for the list of servers: %s", error.details())
                await asyncio.sleep(_RECONNECT)

    async def _follow(self, update: pb.ServerListUpdate, tasks: asyncio.TaskGroup) -> None:
        self._specs = {server.name: server for server in update.servers}
        wanted = {
            _Wanted(
                server=server.name,
                replica=replica,
                runtime=server.runtime,
                extra=tuple(server.extra_capabilities),
                attachment=_attachment(server),
                deny_pickle=server.deny_pickle or self._settings.artifacts.deny_pickle,
            )
            for server in update.servers
            for replica in range(server.replicas)
        }
        if self._artifacts is not None:
            self._artifacts.cache.only({view_name(each.server, each.replica) for each in wanted})
        leaving = [(gone, self._running.pop(gone)) for gone in self._running.keys() - wanted]
        for gone, task in leaving:
            part = self._parts.pop(gone, None)
            if part is not None and not any(_same_server(gone, each) for each in wanted):
                part.retire()
            task.cancel("the server replica is no longer wanted")
        if leaving:
            # The same replica may come back with other settings: its files and ports must be free first.
            await asyncio.wait([task for _, task in leaving])
        for new in sorted(wanted - self._running.keys(), key=lambda w: (w.server, w.replica)):
            name = f"agent {new.server}/{new.replica}"
            self._running[new] = tasks.create_task(self._keep_running(new), name=name)

    def _config(
        self, wanted: _Wanted, offer: Offer, made: RuntimeEnvironment | None, listen: str
    ) -> AgentConfig:
        spec = self._specs[wanted.server]
        return AgentConfig(
            state_dir=self._state_dir,
            server=wanted.server,
            replica=wanted.replica,
            runtime=wanted.runtime,
            memory=spec.memory_bytes,
            overcommit=spec.overcommit_percent,
            capabilities=offer.capabilities,
            own_process=offer.own_process,
            environment=made,
            attachment=wanted.attachment,
            listen=listen,
            scheduler=self._scheduler,
            silence_limit=self._settings.silence_limit,
            log_size=self._settings.log_size,
            deny_pickle=wanted.deny_pickle,
        )

    def _part(self, wanted: _Wanted, config: AgentConfig) -> AgentPart:
        if self._artifacts is None:
            raise RuntimeError("agents are started by `run`")
        part = self._parts[wanted] = AgentPart(config, self._artifacts)
        return part

    async def _run(self, wanted: _Wanted, name: str) -> bool:
        """Until the agent ends by itself, or (True) until there is another environment for its server."""
        listen = socket_target(self._run_dir, name)
        if wanted.attachment is not None:
            self._news.put(wanted.server, wanted.replica, "")
            offer = attached_offer(wanted.runtime, wanted.extra)
            part = self._part(wanted, self._config(wanted, offer, None, listen))
            return await _runs_until(part.run(), _never())
        asked = await self._asked(wanted)
        made = await self._ensure(wanted, asked)
        self._news.put(wanted.server, wanted.replica, "")
        offer = await asyncio.to_thread(installed_offer, made, wanted.extra)
        with held(made.root):
            part = self._part(wanted, self._config(wanted, offer, made, listen))
            return await _runs_until(part.run(), self._outdated(wanted, made, asked))

    async def _keep_running(self, wanted: _Wanted) -> None:
        name, pause = f"{wanted.server}-{wanted.replica}", _RESTART
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                if await self._run(wanted, name):
                    log.info("agent %s: its server has another environment; starting again", name)
                    pause = _RESTART
                    continue
            except (UnknownRuntime, RuntimeInstallError) as error:
                self._not_made(wanted, error)
                await self._asks_for_another(wanted, within=pause)
                pause = min(2 * pause, _LATEST)
                continue
            except Exception as error:
                # One replica's fault must not end the others; its models are cold until it is back.
                if loop.time() - begun > _STEADY:
                    pause = _RESTART
                log.exception("agent %s failed; starting it again in %.0f s", name, pause)
                text = f"its agent failed: {in_a_line(error)}; it is started again, see the log"
                self._news.put(wanted.server, wanted.replica, text, failed=True)
                await self._asks_for_another(wanted, within=pause)
                pause = min(2 * pause, _LATEST)
                continue
            pause = _RESTART
            await asyncio.sleep(pause)

    # -- environments

    async def _asked(self, wanted: _Wanted) -> _Asked:
        """What the Server asks for now, and what would be used for that: another answer means another environment."""
        spec = self._specs.get(wanted.server)
        wish = None if spec is None else _wish(spec)
        if wish is not None:
            return _Asked(wish, await asyncio.to_thread(state_of, wish))
        try:
            return _Asked(None, (await asyncio.to_thread(environment, wanted.runtime)).root)
        except (UnknownRuntime, RuntimeInstallError):
            return _Asked(None, None)

    async def _ensure(self, wanted: _Wanted, asked: _Asked) -> RuntimeEnvironment:
        """Raises UnknownRuntime, RuntimeInstallError."""
        loop = asyncio.get_running_loop()

        def tell(message: str) -> None:
            text = f"its environment is being made: {message}"
            loop.call_soon_threadsafe(self._news.put, wanted.server, wanted.replica, text)

        try:
            return await self._keeper.ensure(wanted.runtime, wanted.extra, asked.wish, tell)
        except (UnknownRuntime, RuntimeInstallError):
            raise
        except Exception as error:
            # While a server runs in its old environment, a fault in making a new one must not end it.
            log.exception("the environment of server %s was not made", wanted.server)
            raise RuntimeInstallError(
                f"its environment was not made: {in_a_line(error)}"
            ) from error

    def _not_made(self, wanted: _Wanted, error: Exception) -> None:
        log.error("server %s: %s", wanted.server, error)
        self._news.put(wanted.server, wanted.replica, str(error), failed=True)

    async def _asks_for_another(self, wanted: _Wanted, *, within: float) -> None:
        """Returns when the Server asks for something else than now, or after so many seconds."""
        before = await self._asked(wanted)
        for _ in range(round(within / _LOOK)):
            await asyncio.sleep(_LOOK)
            if await self._asked(wanted) != before:
                return

    async def _outdated(self, wanted: _Wanted, made: RuntimeEnvironment, asked: _Asked) -> None:
        """Until another environment than ``made`` is there for the server, and it is this replica's turn.

        It is made while the server runs in the old one; where that fails, the old one goes on.
        """
        pause = _RESTART
        while True:
            await asyncio.sleep(_LOOK)
            now = await self._asked(wanted)
            # What was removed while it runs is nothing better.
            if now == asked or now == _Asked(None, None):
                continue
            try:
                new = await self._ensure(wanted, now)
            except (UnknownRuntime, RuntimeInstallError) as error:
                self._not_made(wanted, error)
                await self._asks_for_another(wanted, within=pause)
                pause = min(2 * pause, _LATEST)
                continue
            self._news.put(wanted.server, wanted.replica, "")
            asked, pause = now, _RESTART
            if new.root != made.root:
                await asyncio.sleep(_ONE_AFTER_ANOTHER * wanted.replica)
                return

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(_PRUNE)
            await self._keeper.prune()


def _same_server(one: _Wanted, other: _Wanted) -> bool:
    """Whether both use the same inference server, if with other settings."""
    return (one.server, one.replica, one.attachment) == (
        other.server,
        other.replica,
        other.attachment,
    )


def _attachment(server: pb.ServerSpec) -> Attachment | None:
    if not server.HasField("attachment"):
        return None
    given = server.attachment
    return Attachment(
        rest=given.rest,
        grpc=given.grpc,
        repository=Path(given.repository_path),
        server_path=given.server_path,
    )


def _wish(server: pb.ServerSpec) -> Wish | None:
    """What its environment is to consist of; None for the runtime's."""
    if not server.HasField("environment"):
        return None
    given = server.environment
    return Wish(
        packages=tuple(given.packages),
        requirements=Path(given.requirements) if given.requirements else None,
        archive=Path(given.archive) if given.archive else None,
    )


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _runs_until(
    work: Coroutine[object, object, None], end: Coroutine[object, object, None]
) -> bool:
    """Runs ``work`` to its end, or until ``end`` returns: then it is cancelled, and the answer is True."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        over = working.done()
        working.cancel()
        ending.cancel()
        await asyncio.wait((working, ending))
    for each in (working, ending):
        if not each.cancelled():
            each.result()
    return not over
