"""Puts the parts of an agent together, each once and in one place: for a replica, and for the tests' world alike.

Composition only. Who refers to whom is written here; parts that need each other are given functions that look the other
one up when they are called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from overbook.agent.actor import Actor, ActorPorts
from overbook.agent.assignments import Assignments
from overbook.agent.callers import Callers
from overbook.agent.clock import Clock
from overbook.agent.fetches import Looks
from overbook.agent.files import Cache, Files
from overbook.agent.guesses import Guess
from overbook.agent.losses import LostModels
from overbook.agent.memory.gpu import Gpus
from overbook.agent.memory.history import History
from overbook.agent.memory.machine import Room
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.readings import Probe
from overbook.agent.memory.recycling import Recycling
from overbook.agent.memory.sizes import Sizes
from overbook.agent.memory.store import SizeStore
from overbook.agent.memory.telling import Sampling, Telling
from overbook.agent.memory.unattributed import Unattributed, slack_of
from overbook.agent.memory.watch import Watch, WatchPorts
from overbook.agent.memory.weigher import Weigher, WeigherPorts
from overbook.agent.notices import Notices
from overbook.agent.operations import OperationLimits
from overbook.agent.proven import Proven
from overbook.agent.reports import Reporter
from overbook.agent.servers.attached.foreign import Foreign
from overbook.agent.servers.launched.replaceable import ReplaceableServer
from overbook.agent.servers.protocol import InferenceServer
from overbook.agent.sizing import Sizing
from overbook.agent.supervisor import Phase, RestartLimits, Supervisor
from overbook.agent.uses import users, uses
from overbook.agent.verification import Standing, Verification
from overbook.agent.verifier import Verifier, VerifierPorts
from overbook.artifacts.kept import Use
from overbook.residency.chosen import ChosenOrder
from overbook.residency.core import Core
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits


@dataclass(frozen=True, slots=True)
class AgentPorts:
    """What an agent is assembled from, and what it reaches of the world.

    ``spare``: the server, where a fresh process of it may be started beside the old one. ``members``: the processes
    of the server. ``room``: what the machine leaves; None: not known. ``foreign``: models in it that are not ours.
    ``recycle``: has the process replaced, for a reason; the supervisor, unless somebody else started it.
    """

    server: InferenceServer
    spare: ReplaceableServer | None
    cache: Cache
    looks: Looks
    probe: Probe
    members: Callable[[], tuple[int, ...]]
    gpus: Gpus
    room: Callable[[], Room | None]
    store: SizeStore
    guess: Guess
    history: History
    proven: Proven
    notices: Notices
    clock: Clock
    foreign: Callable[[], tuple[Foreign, ...]] = tuple
    recycle: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """``budget``: bytes for models. The rest: see each."""

    budget: int
    residency: Limits
    operations: OperationLimits
    restarts: RestartLimits


@dataclass(frozen=True, slots=True)
class Agent:
    """The parts of one agent that others speak to. `run` it."""

    actor: Actor
    assignments: Assignments
    supervisor: Supervisor
    sizes: Sizes
    meter: Meter
    recycling: Recycling
    weigher: Weigher
    verifier: Verifier
    callers: Callers
    lost: LostModels
    reporter: Reporter
    watch: Watch
    order: ChosenOrder
    clock: Clock
    notices: Notices

    def uses(self) -> Mapping[str, Use]:
        """What is done with contents at this moment: see `overbook.agent.uses`."""
        assigned = self.assignments.assigned
        tried = {
            each.measurable.digest
            for name in self.verifier.waiting
            if (each := assigned.get(name)) is not None
        }
        return uses(
            self.assignments.known,
            self.actor.entries,
            loaded={folder.name for folder in self.actor.files_in_use},
            busy=self.weigher.wanted | tried,
            wall=self.clock.to_wall,
        )

    def files_left(self, digest: str) -> None:
        """They left the disk for others; whoever follows the models that have them is told."""
        whose = users(self.assignments.assigned.values(), digest)
        # What has never been loaded has to be weighed before its model is ready.
        if any(self._is_verified(name) for name in whose):
            self.weigher.files_left(digest)
        for name in whose:
            self.actor.files_left(ModelName(name))
            self.notices.files_left(name)

    def _is_verified(self, name: str) -> bool:
        return self.verifier.of(name, wanted=True).standing is Standing.VERIFIED

    async def run(self, *, watching: bool = True) -> None:
        """Until cancelled. ``watching``: the memory of the process, which takes looks several times a second."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.actor.run(), name="actor")
            tasks.create_task(self.assignments.run(), name="assignments")
            await asyncio.sleep(0)  # both own task groups that the others use
            tasks.create_task(self.supervisor.run(self.actor), name="server supervisor")
            tasks.create_task(self.lost.run(), name="lost models")
            tasks.create_task(self.weigher.run(), name="weigher")
            tasks.create_task(self.verifier.run(), name="verifier")
            tasks.create_task(self.callers.run(), name="callers")
            if watching:
                tasks.create_task(self.watch.run(), name="memory watch")


def assemble(ports: AgentPorts, limits: AgentLimits) -> Agent:
    """An agent whose parts know each other; nothing runs yet.

    Large, as it is one list: who refers to whom can only be seen in one place.
    """
    server, notices, clock = ports.server, ports.notices, ports.clock
    recycling = Recycling()
    sizes = Sizes(
        ports.store, ports.guess, on_change=lambda digest: assignments.size_changed(digest)
    )
    meter = Meter(
        probe=ports.probe,
        exact=lambda name: _exact(server, name),
        weighs=server.weighs,
        borrowed=server.borrowed,
        grown=server.grown,
        sizes=sizes,
        clock=clock,
        state=Unattributed(slack_of(limits.budget)),
        telling=Telling(
            charged=lambda: actor.residents.charged_in_all,
            charged_for=lambda model: actor.charged(ModelName(model)),
            withhold=lambda lost: actor.residents.withhold_lost(lost),
            measured=lambda: actor.residents.catch_up(),
        ),
        sampling=Sampling(server.sample, lambda digest, request: weigher.sampled(digest, request)),
    )
    files = Files(
        ports.cache,
        lambda prepared: assignments.source_of(prepared),
        notices.artifact_damaged,
        lambda model: actor.is_wanted(ModelName(model)),
    )
    supervisor = Supervisor(
        server=server,
        notices=notices,
        clock=clock,
        limits=limits.restarts,
        meter=meter,
        recycling=recycling,
        spare=ports.spare,
        room=ports.room,
    )
    order = ChosenOrder()
    actor = Actor(
        core=Core(budget=limits.budget, limits=limits.residency, order=order),
        clock=clock,
        limits=limits.operations,
        ports=ActorPorts(
            server=server,
            notices=notices,
            kill_server=supervisor.kill,
            repair=lambda prepared: assignments.repair(prepared),
            present=files.present,
            loaded=lambda prepared: assignments.loaded(prepared),
            files_freed=ports.cache.changed,
            left=lambda model: assignments.left(model),
            meter=meter,
            size=lambda prepared: assignments.size_of(prepared),
            guard_again=lambda: watch.guard_again(),
        ),
    )
    verifier = Verifier(
        Verification(ports.proven),
        VerifierPorts(
            actor=actor,
            notices=notices,
            clock=clock,
            weighs=server.weighs,
            under_way=lambda: actor.loading | weigher.under_way,
        ),
    )
    weigher = Weigher(
        WeigherPorts(
            scale=server,
            sizes=sizes,
            loaded=lambda: {folder.name for folder in actor.files_in_use},
            room=ports.room,
            base=lambda: meter.state.base,
            tried=verifier.weighed,
            present=files.present,
        )
    )
    assignments = Assignments(
        actor=actor,
        server=server,
        cache=ports.cache,
        looks=ports.looks,
        notices=notices,
        clock=clock,
        sizes=sizes,
        sizing=Sizing(sizes, ports.history, clock),
        weigher=weigher,
        proven=ports.proven,
        verifier=verifier,
    )
    reporter = Reporter(
        actor,
        assignments,
        supervisor,
        server,
        clock,
        verifier.of,
        notices.warnings,
        ports.foreign,
        disk=ports.cache.usage,
    )
    watch = Watch(
        WatchPorts(
            residents=actor.residents,
            meter=meter,
            notices=notices,
            clock=clock,
            gpus=ports.gpus,
            room=ports.room,
            quick=ports.probe.quick,
            peak=ports.probe.peak,
            members=ports.members,
            serving=lambda: supervisor.phase is Phase.READY,
            recycle=ports.recycle or supervisor.recycle,
            recycling=lambda: supervisor.recycling,
            report=lambda reading: reporter.looked(reading, notices.labels),
        ),
        recycling,
    )
    return Agent(
        actor=actor,
        assignments=assignments,
        supervisor=supervisor,
        sizes=sizes,
        meter=meter,
        recycling=recycling,
        weigher=weigher,
        verifier=verifier,
        callers=Callers(actor, notices),
        lost=LostModels(server=server, actor=actor, notices=notices, clock=clock),
        reporter=reporter,
        watch=watch,
        order=order,
        clock=clock,
        notices=notices,
    )


async def _exact(server: InferenceServer, name: str) -> int | None:
    own = await server.model_memory(name)
    return None if own is None else own.bytes
