"""Puts an agent together and runs it: server, actor, assignments, service, link. Composition only."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from overbook.agent.actor import Actor, ActorPorts
from overbook.agent.assignments import Assignments
from overbook.agent.clock import Clock
from overbook.agent.commands import Commands
from overbook.agent.guesses import Guess
from overbook.agent.kinds import kind_of
from overbook.agent.link import LinkHandlers, SchedulerLink
from overbook.agent.losses import LostModels
from overbook.agent.memory.assembly import MemoryOffice
from overbook.agent.memory.unattributed import passing_of
from overbook.agent.notices import Notices
from overbook.agent.operations import OperationLimits
from overbook.agent.proven import Proven
from overbook.agent.pulse import SILENCE_LIMIT
from overbook.agent.reports import Reporter
from overbook.agent.servers.attached.server import AttachedServer, Attachment
from overbook.agent.servers.factory import attach, make_server
from overbook.agent.servers.launched.replaceable import ReplaceableServer
from overbook.agent.servers.protocol import InferenceServer, Presence
from overbook.agent.service import AgentService
from overbook.agent.supervisor import Phase, RestartLimits, Supervisor
from overbook.agent.verification import Verification
from overbook.agent.verifier import Verifier, VerifierPorts
from overbook.artifacts.cache import ArtifactCache
from overbook.residency.core import Core
from overbook.residency.replica import Limits
from overbook.runtimes.catalogue import UnknownRuntime, runtime
from overbook.wire import agent_pb2_grpc
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from overbook.wire.in_process import serving

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
    ``attachment``: use that server instead of starting the runtime. ``silence_limit``: seconds for which a server that
    was started here may give no answer while it owes some.
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
    attachment: Attachment | None = None
    silence_limit: float = SILENCE_LIMIT


class AgentPart:
    """An agent. `run` until cancelled; the inference server ends with it."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._clock = Clock()
        self._notices = Notices(config.server, config.replica, self._clock)
        self._folder = config.state_dir / "agents" / f"{config.server}-{config.replica}"
        self._budget = config.memory
        self._retired = False
        self._live: tuple[Actor, Supervisor] | None = None

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
        config = self._config
        self._folder.mkdir(parents=True, exist_ok=True)
        server: InferenceServer
        attached: AttachedServer | None = None
        spare: ReplaceableServer | None = None
        if config.attachment is None:
            server = spare = ReplaceableServer(
                lambda folder: make_server(config.runtime, folder), self._folder
            )
            limits = RestartLimits(silence=config.silence_limit)
        else:
            server = attached = attach(config.runtime, config.attachment)
            limits = _ATTACHED_LIMITS
        memory = MemoryOffice(
            server=server,
            folder=self._folder,
            runtime=_runtime_id(config.runtime),
            guess=Guess(config.own_process),
            budget=config.memory,
            tell=self._notices.not_kept,
        )
        runtime_id = _runtime_id(config.runtime)
        proven = Proven(self._folder / "proven.db", runtime_id, self._notices.not_kept)
        supervisor = Supervisor(
            server=server,
            notices=self._notices,
            clock=self._clock,
            limits=limits,
            meter=memory.meter,
            recycling=memory.recycling,
            spare=spare,
            room=memory.room,
        )
        actor = Actor(
            core=Core(budget=config.memory, limits=Limits(overdraft=passing_of(config.memory))),
            clock=self._clock,
            limits=OperationLimits(),
            ports=ActorPorts(
                server=server,
                notices=self._notices,
                kill_server=supervisor.kill,
                repair=lambda prepared: assignments.repair(prepared),
                loaded=lambda prepared: assignments.loaded(prepared),
                meter=memory.meter,
                size=lambda prepared: assignments.size_of(prepared),
                guard_again=lambda: watch.guard_again(),
            ),
        )
        verifier = Verifier(
            Verification(proven),
            VerifierPorts(
                actor=actor,
                notices=self._notices,
                clock=self._clock,
                weighs=server.weighs,
                under_way=lambda: actor.loading | weigher.under_way,
            ),
        )
        weigher = memory.weigher(
            lambda: {folder.name for folder in actor.files_in_use}, verifier.weighed
        )
        cache = ArtifactCache(self._folder / "cache", self._notices.not_kept)
        assignments = Assignments(
            actor=actor,
            server=server,
            cache=cache,
            kind_of=lambda folder: asyncio.to_thread(kind_of, folder),
            notices=self._notices,
            clock=self._clock,
            sizes=memory.sizes,
            weigher=weigher,
            history=memory.history,
            proven=proven,
            verifier=verifier,
        )
        reporter = Reporter(
            actor,
            assignments,
            supervisor,
            server,
            self._clock,
            verifier.of,
            foreign=lambda: () if attached is None else attached.foreign,
        )
        watch = memory.watch(
            residents=actor,
            notices=self._notices,
            serving=lambda: supervisor.phase is Phase.READY,
            # One that somebody else started is not replaced by connecting anew.
            recycle=supervisor.recycle if attached is None else log.info,
            recycling=lambda: supervisor.recycling,
            report=lambda reading: reporter.looked(reading, self._notices.labels),
        )
        lost = LostModels(server=server, actor=actor, notices=self._notices, clock=self._clock)
        self._notices.on_forgotten = assignments.left
        if attached is not None:
            attached.on_foreign = lambda: self._foreign_changed(actor, attached)
        link = SchedulerLink(
            target=config.scheduler,
            hello=self._hello(),
            notices=self._notices,
            handlers=LinkHandlers(
                assignments=assignments.update,
                command=Commands(actor, assignments).run,
                budget=lambda memory: self._set_budget(memory, actor, attached),
                model_report=reporter.model,
                server_report=reporter.server,
                all_models=lambda: list(assignments.assigned),
            ),
        )
        service = AgentService(assignments, actor.followers)
        register = partial(agent_pb2_grpc.add_AgentServiceServicer_to_server, service)
        try:
            async with (
                serving(config.listen, register, grace=_STOP_GRACE),
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(actor.run(), name="actor")
                tasks.create_task(assignments.run(), name="assignments")
                await asyncio.sleep(0)  # both own task groups that the others use
                tasks.create_task(supervisor.run(actor), name="server supervisor")
                self._live = actor, supervisor
                tasks.create_task(lost.run(), name="lost models")
                tasks.create_task(link.run(), name="scheduler link")
                tasks.create_task(watch.run(), name="memory watch")
                tasks.create_task(weigher.run(), name="weigher")
                tasks.create_task(verifier.run(), name="verifier")
                tasks.create_task(self._prune(assignments), name="cache pruning")
                tasks.create_task(_remember(assignments), name="history")
        finally:
            self._live = None
            assignments.remember()
            if attached is not None and self._retired:
                await attached.release(timeout=_RELEASE)
            await server.close()
            cache.close()
            proven.close()
            memory.close()

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
        )

    def _set_budget(self, memory: int, actor: Actor, attached: AttachedServer | None) -> None:
        """``memory``: for all models; what those of others are known to take is not ours to fill."""
        self._budget = memory
        theirs = () if attached is None else attached.foreign
        actor.set_budget(max(0, memory - sum(each.bytes or 0 for each in theirs)))

    def _foreign_changed(self, actor: Actor, attached: AttachedServer) -> None:
        self._set_budget(self._budget, actor, attached)
        names = [each.name for each in attached.foreign if each.presence is not Presence.ABSENT]
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


async def _remember(assignments: Assignments) -> None:
    while True:
        await asyncio.sleep(_REMEMBER)
        assignments.remember()


def _runtime_id(name: str) -> str:
    """Changes with the runtime's pinned packages: another version may take other sizes."""
    try:
        return runtime(name).folder_name()
    except UnknownRuntime:
        return name
