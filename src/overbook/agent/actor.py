"""The actor: the only one who feeds the residency core and begins what the core asks for.

It turns what happens (requests, gateways' answers, results) into events, and the core's effects into operations
on the inference server, messages to gateways and answers to waiters. It decides nothing about memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from overbook.agent.accusing import Accuser
from overbook.agent.activation import Activation, AgentStops
from overbook.agent.alarm import Alarm
from overbook.agent.clock import Clock
from overbook.agent.contents import Contents
from overbook.agent.deaths import Calls, Death
from overbook.agent.followers import Followers
from overbook.agent.in_flight import may_have_requests, requests_in, surely_asked
from overbook.agent.inquiries import Inquiries
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.watch import RETRY_AFTER
from overbook.agent.notices import Notices
from overbook.agent.operations import OperationLimits, Operations, Present, Repair, Reports, Stuck
from overbook.agent.performing import Performer
from overbook.agent.residents import Residents
from overbook.agent.results import Results
from overbook.agent.servers.protocol import (
    Configuration,
    InferenceServer,
    ModelRejected,
    PreparedModel,
)
from overbook.agent.waiters import Waiters
from overbook.artifacts.relief import RoomWanted
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.effects import Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId
from overbook.residency.outlook import Statistics


@dataclass(frozen=True, slots=True)
class ActorPorts:
    """What the actor acts upon. ``kill_server`` ends a process that does not answer;
    `server_down` tells of its end.

    ``loaded``: is told of each load that ended well; ``left``: of each model that is forgotten;
    ``files_freed``: when files of one may leave the disk, or will soon. ``repair``,
    ``present``: see `operations`. ``size``, ``guard_again``: see `residents`.
    """

    server: InferenceServer
    notices: Notices
    kill_server: Callable[[Stuck], None]
    repair: Repair
    present: Present
    loaded: Callable[[PreparedModel], None]
    files_freed: Callable[[], None]
    left: Callable[[str], None]
    meter: Meter
    size: Callable[[PreparedModel], int]
    guard_again: Callable[[], None]


class Actor:
    """One server replica. Not thread-safe: everything happens on one event loop.

    Large, as a third of it puts together whom it hears and whom it has begin things.

    ``followers``: its gateways. ``residents``: its models in memory, as meter and memory watch see them.
    """

    def __init__(
        self, *, core: Core, clock: Clock, limits: OperationLimits, ports: ActorPorts
    ) -> None:
        self._core = core
        self._clock = clock
        self._server = ports.server
        self._notices = ports.notices
        self._repair = ports.repair
        self._meter = ports.meter
        self._accuser = Accuser()
        self._contents = Contents(core.entries)
        self._waiters = Waiters(clock, self._contents)
        self.residents = Residents(
            core, self._contents, ports.meter.sizes, ports.size, self.feed, ports.guard_again
        )
        self._results = self._results_for(ports)
        self.followers = Followers(
            on_withdrawn=self._results.withdrawn,
            on_passed=self._results.passed,
            on_usage=self._results.usage,
        )
        self._operations = self._operations_for(ports, limits)
        self._inquiries = Inquiries(ports.server, self.followers.passed_on, self._results.inquired)
        self._performer = Performer(
            entries=core.entries,
            waiters=self._waiters,
            operations=self._operations,
            followers=self.followers,
            contents=self._contents,
            accuser=self._accuser,
            notices=ports.notices,
            leaving=lambda: self._left is not None,
            files_freed=ports.files_freed,
            left=ports.left,
        )
        self._inbox: deque[ev.Event] = deque()
        self._handling = False
        self._alarm = Alarm(self._tick)
        self._failed: asyncio.Future[None] | None = None
        self._stopped = False
        self._emptied: asyncio.Event | None = None
        self._left: asyncio.Event | None = None

    def _results_for(self, ports: ActorPorts) -> Results:
        return Results(
            entries=self._core.entries,
            contents=self._contents,
            residents=self.residents,
            accuser=self._accuser,
            notices=ports.notices,
            meter=ports.meter,
            clock=self._clock,
            feed=self.feed,
            size=ports.size,
            describe=lambda prepared: self._operations.describe(prepared),
            tell_loaded=ports.loaded,
            inquire=self._inquire,
            busy=lambda model: self._inquiries.busy(model),
        )

    def _operations_for(self, ports: ActorPorts, limits: OperationLimits) -> Operations:
        results = self._results
        return Operations(
            server=ports.server,
            clock=self._clock,
            limits=limits,
            reports=Reports(
                loaded=results.loaded,
                rejected=results.rejected,
                drained=results.drained,
                unloaded=results.unloaded,
                verified=results.verified,
                described=results.described,
                stuck=ports.kill_server,
            ),
            repair=self._repaired,
            meter=ports.meter,
            present=ports.present,
            watched=self._accuser.watched,
        )

    async def run(self) -> None:
        """Own the operations until cancelled; an error that is nobody's answer ends the agent."""
        self._failed = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._operations.run(), name="operations")
                tasks.create_task(self._inquiries.run(), name="inquiries")
                try:
                    await self._failed
                finally:
                    # Before the operations end, not after: what happens meanwhile could not be begun any more.
                    self._stopped = True
        finally:
            self._failed.cancel()
            self._alarm.cancel()
            self._waiters.send_away()

    # -- what the other modules of the agent say

    @property
    def entries(self) -> Mapping[ModelName, Entry]:
        return self._core.entries

    @property
    def free(self) -> int:
        """Bytes of the budget that nothing is charged for."""
        return self._core.ledger.free

    @property
    def loading(self) -> set[str]:
        """Names of the artifacts that are being loaded."""
        return self._contents.loading

    def hopeless(self, model: ModelName) -> str:
        """Why it cannot be loaded as things are because of what it calls; "" when it may."""
        return self._core.hopeless(model, self._clock.now())

    def hopeless_callers(self) -> dict[ModelName, str]:
        return self._core.hopeless_callers(self._clock.now())

    def is_wanted(self, model: ModelName) -> bool:
        """Whether a request waits for it, or for one that calls it."""
        return self._core.wanted(model)

    def leaves_for_good(self, model: ModelName) -> bool:
        """Whether it leaves memory because its files have to leave the disk, and no request puts it back."""
        return model in self.entries and self._core.leaves_for_good(model, self._clock.now())

    def relieve(self, wanted: RoomWanted) -> Set[str]:
        """Have models leave memory whose files are in the way. Returns the digests of those that will be free."""
        if self._stopped:
            return set()
        files = [
            ev.Files(each.bytes, tuple(map(ModelName, sorted(each.models))))
            for each in wanted.files
        ]
        self.feed(ev.DiskRoomWanted(wanted.missing, tuple(files), wanted.since))
        if not wanted.missing:
            return set()
        leaving = self._core.files_leaving(self._clock.now())
        return {each.digest for each, free in zip(wanted.files, leaving, strict=True) if free}

    def files_left(self, model: ModelName) -> None:
        self.feed(ev.FilesLeft(model))

    def statistics(self) -> Statistics:
        return self._core.statistics()

    @property
    def files_in_use(self) -> set[Path]:
        """Artifact folders that the inference server reads now or may still read."""
        return self._contents.files

    def charged(self, model: ModelName) -> int:
        return self.residents.charged(model)

    def assign(self, prepared: PreparedModel, register: ev.Register) -> None:
        self._contents.assign(prepared)
        self.feed(register)
        self._contents.drop_older(register.model)

    async def _repaired(self, prepared: PreparedModel) -> PreparedModel | None:
        """Looks once until a load succeeds. Also when the new copy cannot be loaded either, the old one is gone."""
        if self._contents.is_checked(prepared):
            return None
        repaired = await self._repair(prepared)
        self._contents.checked(prepared, repaired)
        return repaired

    def stands_in(self, model: ModelName) -> int:
        """The number of the older content that a request would load, as the newest cannot be; 0 when there is none."""
        return self._core.stands_in(model)

    def resize(self, register: ev.Register) -> None:
        """The same content, known to be of another size."""
        self.feed(register)

    def remove(self, model: ModelName) -> None:
        self.feed(ev.Remove(model))

    def set_budget(self, budget: int) -> None:
        self.feed(ev.BudgetChanged(budget))

    def server_up(self) -> None:
        self.feed(ev.ServerUp())

    @property
    def asked_for(self) -> Calls:
        """What the inference server was asked to load."""
        return self._operations.calls

    def owes(self) -> bool:
        """Whether loads or requests are in the inference server, as far as is known here."""
        return bool(self.asked_for.open) or surely_asked(self._in_memory())

    @property
    def last_death(self) -> Death | None:
        """How the inference server ended the last time."""
        return self._accuser.last

    def server_died(self, death: Death) -> bool:
        """The process ended, which nobody wanted. Whether somebody is suspected of it.

        Whoever is to blame is held back, and so is, for a moment, who is one of several suspects.
        """
        accused = self._accuser.died(death, self._contents.generation_in)
        self.server_down(death.reason)
        now = self._clock.now()
        for each in accused:
            model, until = ModelName(each.sentence.suspect.model), each.sentence.until
            if model not in self.entries:
                continue
            if until > now:
                generation = each.sentence.suspect.generation
                self.feed(ev.HoldBack(model, generation, each.reason, until))
            self._notices.accused(model, each.reason, final=each.final)
        return bool(death.suspects)

    def server_down(self, reason: str) -> None:
        """The process is gone: its operations are void."""
        charged = tuple(self._core.ledger.charges)
        for hung, why in self._operations.hung.items():
            self._results.rejected(hung, why, passing=True)
        self.residents.end()
        self.feed(ev.ServerDown())
        # What the events above began is void as well, so this comes last.
        self._operations.abandon(reason)
        self._inquiries.abandon()
        self._contents.lost()
        for model in charged:
            if model in self.entries:
                self._notices.changed(model)  # it is in memory no more
        self.followers.withdraw_all()
        self._meter.ended()

    async def empty(self, *, timeout: float) -> None:
        """Let all models drain and unload, while requests for them wait; at most ``timeout`` seconds.

        Ends with `server_down`, whenever that is said.
        """
        self._emptied = asyncio.Event()
        self.feed(ev.Recycle())
        try:
            async with asyncio.timeout(timeout):
                while self._core.ledger.charges:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            return
        finally:
            self._emptied = None

    async def leave(self) -> None:
        """Take in no request any more, withdraw all models, and return when none has a request in flight.

        Those that wait here are sent to other replicas. Loads under way are nobody's then, and not waited for.
        """
        self._left = asyncio.Event()
        for request in self._waiters.send_away():
            self.feed(ev.RequestLeft(request))
        self.feed(ev.Recycle())
        await self._left.wait()

    def _in_memory(self) -> Iterator[Entry]:
        return (self.entries[model] for model in self._core.ledger.charges)

    @property
    def in_flight(self) -> int:
        """Requests at the inference server, as far as gateways counted them."""
        return requests_in(self._in_memory())

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation:
        """Wait until the model is resident, at most ``timeout`` seconds. Cancelling withdraws the wish.

        Where it is granted, `passed` must be told of it. Raises AgentStops.
        """
        if self._stopped or self._left is not None:
            raise AgentStops
        if self.residents.refusing and not self.charged(model):
            return Activation(Refusal.OVERLOADED, self.residents.refusing, RETRY_AFTER)
        waiter = self._waiters.arrive(model)
        request, deadline = waiter.request, waiter.arrived + timeout
        self.feed(ev.RequestArrived(request, model, deadline, suspect))
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._waiters.leave(request)
            self.feed(ev.RequestLeft(request))
            raise

    def passed(self, request: RequestId) -> None:
        self._results.passed(request)

    def try_again(self, model: ModelName) -> None:
        """A person says that whatever was said against its content does not count any more."""
        if model in self.entries:
            self._notices.forgiven(model)
            self._accuser.forgive(model)
            self.feed(ev.TryAgain(model))

    def evict(self, model: ModelName) -> None:
        self.feed(ev.EvictRequested(model))

    async def metadata(self, model: ModelName) -> Mapping[str, object] | None:
        """OIP metadata without loading: what the server said last, else what the files tell."""
        prepared = self._contents.newest(model)
        if prepared is None:
            return None
        known = self._contents.description(prepared)
        if known is not None:
            return known.metadata
        try:
            return await self._server.static_metadata(prepared)
        except ModelRejected:
            return None  # its files are damaged; a load finds that out and heals it

    def is_described(self, model: ModelName) -> bool:
        """Whether the server has said what this content is."""
        prepared = self._contents.newest(model)
        return prepared is not None and self._contents.description(prepared) is not None

    def configuration(self, model: ModelName) -> Configuration | None:
        """What the server said of this content when it was loaded; None while it was not, or has no such call."""
        prepared = self._contents.newest(model)
        known = None if prepared is None else self._contents.description(prepared)
        return None if known is None else known.configuration

    # -- the core

    def feed(self, event: ev.Event) -> None:
        """Hand an event to the core and begin its effects. Events that arise meanwhile are handled after it.

        An error here means that agent and core disagree about the world: it ends the agent, which then starts
        from nothing, instead of going on with half the effects begun.
        """
        if self._stopped:
            return
        self._inbox.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                for effect in self._core.handle(event, self._clock.now()):
                    self._performer.begin(effect)
        except Exception as error:
            self._inbox.clear()
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
            raise
        finally:
            self._handling = False
        self._alarm.set(self._core.next_wakeup())
        self._inquire()
        if self._emptied is not None and not self._core.ledger.charges:
            self._emptied.set()
        if self._left is not None and not may_have_requests(self._in_memory()):
            self._left.set()

    def _inquire(self) -> None:
        self._inquiries.about(self._core.awaited(self._clock.now()))

    def _tick(self) -> None:
        self.residents.look_again()
        self.feed(ev.Tick())
