"""Puts an agent together and runs it: server, actor, assignments, service, link. Composition only."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from overbook.agent.actor import Actor
from overbook.agent.assembly import Agent, AgentLimits, AgentPorts, assemble
from overbook.agent.assignments import Assignments
from overbook.agent.clock import Clock
from overbook.agent.commands import Commands
from overbook.agent.fetches import Looks
from overbook.agent.guesses import Guess
from overbook.agent.kinds import kind_of
from overbook.agent.link import LinkHandlers, SchedulerLink
from overbook.agent.logs import Logs
from overbook.agent.looking import told
from overbook.agent.memory.gpu import find_gpus
from overbook.agent.memory.history import History
from overbook.agent.memory.machine import room_for
from overbook.agent.memory.probe import TreeProbe
from overbook.agent.memory.store import SizeStore
from overbook.agent.memory.unattributed import passing_of
from overbook.agent.model_metrics.source import ModelMetrics
from overbook.agent.notices import Notices
from overbook.agent.operations import OperationLimits
from overbook.agent.proven import Proven
from overbook.agent.pulse import SILENCE_LIMIT
from overbook.agent.servers.attached.connection import Attachment
from overbook.agent.servers.attached.foreign import Foreign
from overbook.agent.servers.attached.server import AttachedServer
from overbook.agent.servers.factory import attach, callees, make_server, sequence_idle
from overbook.agent.servers.launched.replaceable import ReplaceableServer
from overbook.agent.servers.protocol import (
    InferenceServer,
    PreparedModel,
    Presence,
)
from overbook.agent.service import AgentService
from overbook.agent.supervisor import RestartLimits, Supervisor
from overbook.agent.surveys import Surveys, seen
from overbook.artifacts.cache import ArtifactCache
from overbook.artifacts.made_for import made_for_in
from overbook.artifacts.pickled import refuse_pickles
from overbook.artifacts.secrets.known import Changed, Secrets
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.view import CacheView
from overbook.bounded_log import KEPT, MOST_BYTES, BoundedLog
from overbook.metrics.page import PAGE
from overbook.residency.chosen import DEFAULT, POLICIES
from overbook.residency.replica import Limits
from overbook.runtimes.catalogue import UnknownRuntime, runtime
from overbook.runtimes.install import RuntimeEnvironment
from overbook.wire import agent_pb2_grpc
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from overbook.wire.in_process import serving
from overbook.wire.peers import Peers

log = logging.getLogger(__name__)

_PRUNE: Final = 2.0
_REMEMBER: Final = 10.0
_STOP_GRACE: Final = 1.0
_NAMED: Final = 10
_RELEASE: Final = 10.0
# To connect is quick or in vain, and whoever started the server may start it again at any moment. The adapter itself
# says when it is lost.
_ATTACHED_LIMITS: Final = RestartLimits(start=5.0, backoff_max=5.0, silence=math.inf)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """One server replica. ``listen`` and ``scheduler`` are gRPC targets; memory is the budget M in bytes.

    ``own_process``: capabilities for which the server starts a process per model, and bytes of such a process.
    ``environment``: what the runtime is started from; ``attachment``: the server that is used instead.
    ``silence_limit``: seconds for which a server that was started here may give no answer while it owes some.
    ``log_size``: bytes of each file of its log. ``deny_pickle``: artifacts with pickles in them are refused.
    ``peers``: how it and other parts know each other at ports.
    """

    state_dir: Path
    server: str
    replica: int
    runtime: str
    memory: int
    overcommit: int
    capabilities: tuple[str, ...]
    listen: str
    scheduler: str
    own_process: Mapping[str, int] = field(default_factory=dict)
    environment: RuntimeEnvironment | None = None
    attachment: Attachment | None = None
    silence_limit: float = SILENCE_LIMIT
    log_size: int = MOST_BYTES
    deny_pickle: bool = False
    peers: Peers | None = None


@dataclass(frozen=True, slots=True)
class MachineArtifacts:
    """What agents of one machine share: the cache, and what it may tell sources; who opened it closes it.

    ``listeners``: are told which secrets are others than before. ``troubles``: what people should know of its files.
    """

    cache: ArtifactCache
    secrets: Secrets
    listeners: list[Changed]
    troubles: tuple[str, ...] = ()


def view_name(server: str, replica: int) -> str:
    """By which the cache of artifacts knows an agent."""
    return f"{server}-{replica}"


class _Kept:
    """The files in which the agent keeps what it has learned."""

    def __init__(self, folder: Path, runtime: str, tell: Callable[[str], None]) -> None:
        self.sizes: Final = SizeStore(folder / "sizes.db", runtime, tell)
        self.history: Final = History(folder / "sizes.db", runtime, tell)
        self.proven: Final = Proven(folder / "proven.db", runtime, tell)

    def close(self) -> None:
        for each in (self.proven, self.sizes, self.history):
            each.close()


class AgentPart:
    """An agent. `run` until cancelled; the inference server ends with it. ``serving`` is set while its parts run."""

    def __init__(self, config: AgentConfig, artifacts: MachineArtifacts) -> None:
        self._config = config
        self._artifacts = artifacts
        self._files = CacheView(artifacts.cache, view_name(config.server, config.replica))
        self._clock = Clock()
        self._notices = Notices(config.server, config.replica, self._clock)
        self._folder = config.state_dir / "agents" / f"{config.server}-{config.replica}"
        self._model_metrics = ModelMetrics(self._notices, self._clock, PAGE.names)
        self._log = self._bounded("server.log")
        self._budget = config.memory
        self._retired = False
        self._live: tuple[Actor, Supervisor] | None = None
        self.serving = asyncio.Event()

    def retire(self) -> None:
        """The Server is gone for good: at its end the agent takes its models out of an attached server."""
        self._retired = True

    @property
    def running(self) -> int:
        """Requests at the inference server, as far as gateways counted them."""
        return 0 if self._live is None else self._live[0].in_flight

    def leave(self) -> None:
        """Tell the scheduler, and gateways that there may be better places; everything is served as before."""
        if self._live is not None:
            actor, supervisor = self._live
            supervisor.leave()
            actor.followers.leave()

    async def drain(self) -> None:
        """Send new requests to other replicas, and return when none is in flight here. May be cancelled at any time."""
        if self._live is not None:
            await self._live[0].leave()

    async def refuse(self, why: str) -> None:
        """Requests that are still in flight are cut at the end of `run`: their gateways ask elsewhere, or say why."""
        if self._live is not None:
            log.info("%d requests are cut: %s", self.running, why)
            self._live[1].hurry()

    async def run(self) -> None:
        """Until cancelled."""
        config = self._config
        self._folder.mkdir(parents=True, exist_ok=True)
        agent: Agent
        server: AttachedServer | ReplaceableServer

        def foreign() -> tuple[Foreign, ...]:
            return server.foreign if isinstance(server, AttachedServer) else ()

        if config.attachment is None:
            server = ReplaceableServer(self._made, self._folder)
        else:
            changed = partial(self._foreign_changed, lambda: agent.actor, foreign)
            server = attach(config.runtime, config.attachment, changed)
        kept = _Kept(self._folder, _identity(config), self._notices.not_kept)
        for each in self._artifacts.troubles:
            self._notices.not_kept(each)
        agent = self._assembled(server, kept, foreign)
        self._model_metrics.of(server, lambda: agent.assignments.assigned)
        self._files.join(agent.uses, agent.files_left, agent.actor.relieve)
        self._artifacts.listeners.append(agent.assignments.another_try.secrets_changed)
        self._artifacts.cache.listeners.append(agent.assignments.another_try.source_answered)
        machine = socket.gethostname()
        surveys = Surveys(lambda asked: seen(asked, machine), self._artifacts.cache.look)
        commands = Commands(agent.actor, agent.assignments)
        service = AgentService(agent.assignments, agent.actor.followers, commands)
        register = partial(agent_pb2_grpc.add_AgentServiceServicer_to_server, service)
        try:
            with PAGE.showing(self._model_metrics):
                async with (
                    serving(config.listen, register, grace=_STOP_GRACE, peers=config.peers),
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(agent.run(), name="agent")
                    await asyncio.sleep(0)
                    self._live = agent.actor, agent.supervisor
                    self.serving.set()
                    link = self._link(agent, surveys, foreign)
                    tasks.create_task(link.run(), name="scheduler link")
                    tasks.create_task(self._prune(agent.assignments), name="cache pruning")
                    tasks.create_task(_remember(agent.assignments), name="history")
                    if config.attachment is None:
                        self._bound_logs(tasks)
        finally:
            self._live = None
            self.serving.clear()
            self._files.leave()
            self._artifacts.listeners.remove(agent.assignments.another_try.secrets_changed)
            self._artifacts.cache.listeners.remove(agent.assignments.another_try.source_answered)
            self._model_metrics.close()
            agent.assignments.remember()
            if isinstance(server, AttachedServer) and self._retired:
                await server.release(timeout=_RELEASE)
            await server.close()
            agent.sizes.save()
            kept.close()
            surveys.close()

    def _assembled(
        self,
        server: AttachedServer | ReplaceableServer,
        kept: _Kept,
        foreign: Callable[[], tuple[Foreign, ...]],
    ) -> Agent:
        config = self._config
        spare = server if isinstance(server, ReplaceableServer) else None
        probe = TreeProbe(lambda: server.pid)
        return assemble(
            AgentPorts(
                server=server,
                spare=spare,
                cache=self._files,
                looks=self._looks(),
                probe=probe,
                members=lambda: probe.members,
                gpus=find_gpus(),
                room=lambda: None if server.pid is None else room_for(server.pid),
                store=kept.sizes,
                guess=Guess(config.own_process),
                history=kept.history,
                proven=kept.proven,
                notices=self._notices,
                clock=self._clock,
                foreign=foreign,
                # One that somebody else started is not replaced by connecting anew.
                recycle=None if spare is not None else log.info,
            ),
            AgentLimits(
                budget=config.memory,
                residency=Limits(overdraft=passing_of(config.memory)),
                operations=OperationLimits(),
                restarts=RestartLimits(silence=config.silence_limit)
                if spare is not None
                else _ATTACHED_LIMITS,
            ),
        )

    def _looks(self) -> Looks:
        return Looks(
            kind=lambda folder: asyncio.to_thread(kind_of, folder),
            sequence_idle=lambda folder: asyncio.to_thread(sequence_idle, folder),
            made_for=lambda folder: asyncio.to_thread(made_for_in, folder),
            callees=lambda folder: asyncio.to_thread(callees, folder),
            refuse=(lambda folder: asyncio.to_thread(refuse_pickles, folder))
            if self._config.deny_pickle
            else None,
        )

    def _link(
        self, agent: Agent, surveys: Surveys, foreign: Callable[[], tuple[Foreign, ...]]
    ) -> SchedulerLink:
        return SchedulerLink(
            target=self._config.scheduler,
            peers=self._config.peers,
            hello=self._hello(),
            notices=self._notices,
            handlers=LinkHandlers(
                assignments=agent.assignments.update,
                command=Commands(agent.actor, agent.assignments).run,
                look=surveys.of,
                read_log=Logs(self._log if self._config.attachment is None else None).read,
                configure=lambda told: self._configure(told, agent, foreign()),
                secrets=self._told_secrets,
                model_report=agent.reporter.model,
                server_report=agent.reporter.server,
                all_models=lambda: list(agent.assignments.assigned),
            ),
        )

    def _made(self, folder: Path) -> InferenceServer:
        if self._config.environment is None:
            raise ValueError("a server that is started here needs an environment")
        return make_server(
            self._config.environment, folder, self._warn, self._model_metrics, log=self._log.path
        )

    def _bounded(self, name: str, *, kept: int = KEPT) -> BoundedLog:
        return BoundedLog(self._folder / name, most=self._config.log_size, kept=kept)

    def _bound_logs(self, tasks: asyncio.TaskGroup) -> None:
        """The server's, and those of fresh processes in which models are weighed."""
        weighing = (self._bounded(each, kept=1) for each in ("weighing.log", "spare/weighing.log"))
        for log_ in (self._log, *weighing):
            tasks.create_task(log_.run(), name=f"bound {log_.path.name}")

    def _warn(self, model: PreparedModel, texts: Iterable[str]) -> None:
        content = f"{model.artifact}/{model.version}"
        self._notices.warned(model.name, content, map(told, texts))

    def _hello(self) -> pb.AgentHello:
        config = self._config
        return pb.AgentHello(
            replica=common.ReplicaRef(server=config.server, replica=config.replica),
            runtime=config.runtime,
            capabilities=config.capabilities,
            memory_bytes=config.memory,
            agent_target=config.listen,
            overcommit_percent=config.overcommit,
            separate_process=sorted(config.own_process),
            machine=socket.gethostname(),
        )

    def _told_secrets(self, told: pb.Secrets) -> None:
        """Those of the scheduler, which every agent of this machine is told."""
        self._artifacts.secrets.update(map(_remote, told.secrets))

    def _configure(self, told: pb.Configure, agent: Agent, foreign: tuple[Foreign, ...]) -> None:
        # A policy that an older agent does not know is none of its business.
        policy = told.eviction_policy
        agent.order.choose(policy if policy in POLICIES else DEFAULT)
        if told.memory_bytes != self._budget:
            self._set_budget(told.memory_bytes, agent.actor, foreign)

    def _set_budget(self, memory: int, actor: Actor, foreign: tuple[Foreign, ...]) -> None:
        """``memory``: for all models; what those of others are known to take is not ours to fill."""
        self._budget = memory
        actor.set_budget(max(0, memory - sum(each.bytes or 0 for each in foreign)))

    def _foreign_changed(
        self, actor: Callable[[], Actor], foreign: Callable[[], tuple[Foreign, ...]]
    ) -> None:
        self._set_budget(self._budget, actor(), foreign())
        names = [each.name for each in foreign() if each.presence is not Presence.ABSENT]
        listed = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        told = f"models that Overbook did not load: {listed or 'none'}"
        self._notices.server_event("ForeignModels", told)

    async def _prune(self, assignments: Assignments) -> None:
        while True:
            await asyncio.sleep(_PRUNE)
            try:
                await assignments.prune()
            except OSError as error:
                log.warning("cannot remove files of models that left: %s", error)


def _remote(told: pb.Secret) -> RemoteSecret:
    return RemoteSecret(told.name, told.remote, told.type, dict(told.parameters))


async def _remember(assignments: Assignments) -> None:
    while True:
        await asyncio.sleep(_REMEMBER)
        assignments.remember()


def _identity(config: AgentConfig) -> str:
    """Changes with the packages that models meet: with another version they may take other sizes."""
    if config.environment is not None:
        return config.environment.identity
    try:
        return runtime(config.runtime).folder_name()
    except UnknownRuntime:
        return config.runtime
