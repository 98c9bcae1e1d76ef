"""The actor: the only one who feeds the residency core and begins what the core asks for.

It turns what happens (requests, gateways' answers, results) into events, and the core's effects into operations
on the inference server, messages to gateways and answers to waiters. It decides nothing about memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from overbook.agent.accusing import Accuser
from overbook.agent.activation import Activation, AgentStops
from overbook.agent.arrears import Arrears
from overbook.agent.clock import Clock
from overbook.agent.contents import Contents
from overbook.agent.deaths import Calls, Death
from overbook.agent.followers import Followers
from overbook.agent.in_flight import may_have_requests, requests_in, surely_asked
from overbook.agent.inquiries import Inquiries
from overbook.agent.looking import told
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.sizes import Measurable
from overbook.agent.memory.watch import RETRY_AFTER
from overbook.agent.notices import Notices
from overbook.agent.operations import OperationLimits, Operations, Repair, Reports, Stuck
from overbook.agent.servers.protocol import InferenceServer, ModelRejected, PreparedModel
from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.effects import Refusal
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId
from overbook.residency.outlook import Statistics


@dataclass(slots=True)
class _Waiter:
    model: ModelName
    arrived: float
    answer: asyncio.Future[Activation]


@dataclass(frozen=True, slots=True)
class ActorPorts:
    """What the actor acts upon. ``kill_server`` ends a process that does not answer;
    `server_down` tells of its end.

    ``loaded``: is told of each load that ended well. ``repair``: see `operations`. ``size``: bytes to charge for a
    model, by what is known now. ``guard_again``: have the guard look now; it says by `Actor.guard` what that changed.
    """

    server: InferenceServer
    notices: Notices
    kill_server: Callable[[Stuck], None]
    repair: Repair
    loaded: Callable[[PreparedModel], None]
    left: Callable[[str], None]
    meter: Meter
    size: Callable[[PreparedModel], int]
    guard_again: Callable[[], None]


class Actor:
    """One server replica. Not thread-safe: everything happens on one event loop.

    Large, as it is the one writer of all that a replica holds: each event and effect of the core has its lines here.
    """

    def __init__(
        self, *, core: Core, clock: Clock, limits: OperationLimits, ports: ActorPorts
    ) -> None:
        self._core = core
        self._clock = clock
        self._server = ports.server
        self._notices = ports.notices
        self._accuser = Accuser()
        self.followers = Followers(
            on_withdrawn=self._on_withdrawn, on_passed=self.passed, on_usage=self._on_usage
        )
        self._operations = Operations(
            server=ports.server,
            clock=clock,
            limits=limits,
            reports=Reports(
                loaded=self._on_loaded,
                rejected=self._on_rejected,
                drained=self._on_drained,
                unloaded=self._on_unloaded,
                verified=self._on_verified,
                described=self._on_described,
                stuck=ports.kill_server,
            ),
            repair=self._repaired,
            meter=ports.meter,
            watched=self._accuser.watched,
        )
        self._inquiries = Inquiries(ports.server, self.followers.passed_on, self._on_inquired)
        self._repair = ports.repair
        self._tell_loaded = ports.loaded
        self._tell_left = ports.left
        self._meter = ports.meter
        self._size = ports.size
        self._guard_again = ports.guard_again
        self._contents = Contents()
        self._arrears = Arrears(self._contents, core, ports.size)
        self._waiters: dict[RequestId, _Waiter] = {}
        self._next_request = 0
        self._load_times: dict[ModelName, tuple[float, float]] = {}  # its end, its seconds
        self._metadata: dict[ModelName, tuple[PreparedModel, Mapping[str, object]]] = {}
        self._inbox: deque[ev.Event] = deque()
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._failed: asyncio.Future[None] | None = None
        self._stopped = False
        self._used: set[ModelName] = set()
        self._lost = self._guarded = 0  # bytes withheld from models, and by whom
        self._refusing = ""
        self._emptied: asyncio.Event | None = None
        self._left: asyncio.Event | None = None

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
            if self._timer is not None:
                self._timer.cancel()
            for waiter in self._waiters.values():
                if not waiter.answer.done():
                    waiter.answer.set_exception(AgentStops())

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

    def statistics(self) -> Statistics:
        return self._core.statistics()

    @property
    def files_in_use(self) -> set[Path]:
        """Artifact folders that the inference server reads now or may still read."""
        return self._contents.files

    def charged(self, model: ModelName) -> int:
        return self._core.ledger.of(model)

    # -- for the memory watch

    @property
    def budget(self) -> int:
        return self._core.ledger.budget

    @property
    def charged_bytes(self) -> int:
        return self._core.ledger.total

    @property
    def overdrawn(self) -> int:
        return self._core.overdrawn

    def resident_contents(self) -> list[tuple[Measurable, int]]:
        return [
            (self._meter.sizes.content(prepared.artifact.name), self.charged(model))
            for model, prepared in self._contents.in_server.items()
        ]

    def take_used(self) -> list[Measurable | None]:
        used, self._used = self._used, set()
        found = [self._contents.in_server.get(model) for model in used]
        content = self._meter.sizes.content
        return [None if each is None else content(each.artifact.name) for each in found]

    def guard(self, withheld: int, refusing: str) -> None:
        self._guarded, self._refusing = withheld, refusing
        self._withhold()

    def starved(self) -> bool:
        return self._core.starved()

    @property
    def charged_in_all(self) -> int:
        """Bytes of all models in the ledger, with what loads take for a moment."""
        return self._core.ledger.total + self._core.overdrawn

    def withhold_lost(self, lost: int) -> None:
        """So many bytes are lost to the models until the process ends."""
        self._lost = lost
        self._withhold()

    def _withhold(self) -> None:
        """The guard's room is that of all models together, so what is lost is in it already."""
        size = self._withheld_with(self._arrears.kept)
        if size != self._core.ledger.withheld:
            owed = size > max(self._lost, self._guarded)
            self.feed(ev.Withhold(size, lost=self._lost >= self._guarded, owed=owed))

    def _withheld_with(self, kept: int) -> int:
        return max(self._lost, self._guarded, kept)

    def assign(self, prepared: PreparedModel, register: ev.Register) -> None:
        self._contents.assign(prepared)
        self.feed(register)
        self._drop_older(register.model)

    def _drop_older(self, model: ModelName) -> None:
        """Only two contents of a model can still be loaded."""
        entry = self.entries.get(model)
        if entry is not None:
            good = None if entry.good is None else entry.good.generation
            self._contents.keep_only(model, {entry.generation, good})

    def _newest(self, model: ModelName) -> PreparedModel | None:
        """None also between a deletion and what is applied after it: what was deleted is nobody's content."""
        entry = self.entries.get(model)
        if entry is None or entry.removed:
            return None
        return self._contents.find(model, entry.generation)

    async def _repaired(self, prepared: PreparedModel) -> PreparedModel | None:
        """Also when the new copy cannot be loaded either, the old one is gone."""
        repaired = await self._repair(prepared)
        if repaired is not None:
            self._contents.repaired(repaired)
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
            self._on_rejected(hung, why, passing=True)
        self._lost = self._guarded = self._arrears.kept = 0
        self._refusing = ""
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
        for request, waiter in list(self._waiters.items()):
            del self._waiters[request]
            if not waiter.answer.done():
                waiter.answer.set_exception(AgentStops())
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
        if self._refusing and self._core.ledger.of(model) == 0:
            return Activation(Refusal.OVERLOADED, self._refusing, RETRY_AFTER)
        self._next_request += 1
        request = RequestId(self._next_request)
        arrived = self._clock.now()
        waiter = _Waiter(model, arrived, asyncio.get_running_loop().create_future())
        self._waiters[request] = waiter
        self.feed(ev.RequestArrived(request, model, arrived + timeout, suspect))
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self._waiters.pop(request, None)
            self.feed(ev.RequestLeft(request))
            raise

    def passed(self, request: RequestId) -> None:
        """A request that was granted has been passed on to the server, or nobody wants it any more."""
        self.feed(ev.Passed(request))

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
        prepared = self._newest(model)
        if prepared is None:
            return None
        known = self._metadata.get(model)
        if known is not None and known[0] == prepared:
            return known[1]
        try:
            return await self._server.static_metadata(prepared)
        except ModelRejected:
            return None  # its files are damaged; a load finds that out and heals it

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
                    self._begin(effect)
        except Exception as error:
            self._inbox.clear()
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
            raise
        finally:
            self._handling = False
        self._set_timer()
        self._inquire()
        if self._emptied is not None and not self._core.ledger.charges:
            self._emptied.set()
        if self._left is not None and not may_have_requests(self._in_memory()):
            self._left.set()

    def _inquire(self) -> None:
        self._inquiries.about(self._core.awaited(self._clock.now()))

    def _set_timer(self) -> None:
        wake = self._core.next_wakeup()
        if self._timer is not None:
            if self._timer.when() <= wake:
                return  # it is set anew then; most events only move the wake-up further away
            self._timer.cancel()
            self._timer = None
        if wake != float("inf"):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(wake, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._refresh_guard()
        self.feed(ev.Tick())

    def _refresh_guard(self) -> None:
        """Before a model is seen as idle: what its inference borrowed may have been given back since the last look.

        Otherwise the guard evicts it for memory that nobody holds any more.
        """
        if self._guarded:
            self._guard_again()

    def _begin(self, effect: fx.Effect) -> None:
        match effect:
            case fx.Grant(request):
                self._answer(request, None, "", 0.0)
            case fx.Reject(request, refusal, reason, retry_after):
                self._answer(request, refusal, reason, retry_after)
            case fx.Load(model, generation):
                self._notices.changed(model)
                prepared = self._contents.begin_load(model, generation)
                self._operations.load(prepared, self._contents.in_server.get(model))
            case fx.Unload(model) if self._left is not None:
                # The server ends with us, or keeps what it has: to wait for the unload would be for nothing.
                self._notices.changed(model)
            case fx.Unload(model):
                self._notices.changed(model)
                idle = self.entries[model].in_flight == 0
                self._operations.unload(model, self._contents.in_server.get(model), idle=idle)
            case fx.Verify(model):
                self._operations.verify(model)
            case fx.Publish(model):
                self._operations.stop_settling(model)
                self.followers.publish(model)
                self._notices.changed(model)
            case fx.Withdraw(model, ticket, _):
                self.followers.withdraw(model, ticket)
                self._notices.changed(model)
            case fx.Settle(model, ticket):
                self._operations.settle(model, ticket, self.followers.passed_on(model))
            case fx.Evicted(model, cause):
                self._contents.left(model)
                self._notices.evicted(model, cause)
            case fx.Forgotten(model):
                self._operations.forget(model)
                self._accuser.forgive(model)
                self._contents.forget(model)
                self._metadata.pop(model, None)
                self._load_times.pop(model, None)
                self._notices.forgotten(model)
                self._tell_left(model)

    def _answer(
        self, request: RequestId, refusal: Refusal | None, reason: str, retry_after: float
    ) -> None:
        waiter = self._waiters.pop(request, None)
        if waiter is None or waiter.answer.done():
            return  # its caller was cancelled in this very turn of the loop; RequestLeft follows
        waited = self._clock.now() - waiter.arrived
        ended, seconds = self._load_times.get(waiter.model, (0.0, 0.0))
        load = min(seconds, waited) if ended >= waiter.arrived else 0.0
        waiter.answer.set_result(Activation(refusal, reason, retry_after, waited, load, request))
        if refusal is not None:
            self._notices.changed(waiter.model)

    def _on_withdrawn(self, model: ModelName, ticket: ev.Ticket) -> None:
        self.feed(ev.Withdrawn(model, ticket))

    def _on_usage(self, model: ModelName, in_flight: int, active: bool) -> None:
        if in_flight == 0:
            self._refresh_guard()
        else:
            self._inquiries.busy(model)
        last_active = self._clock.now() if active else -float("inf")
        self.feed(ev.UsageSeen(model, in_flight, last_active))
        if active:
            self._meter.used(model, in_flight)
        self._notices.used(model)
        if active:
            self._used.add(model)

    def _on_inquired(self, model: ModelName, idle: bool) -> None:
        """The server that was asked knows the end of a request before the meters do."""
        if not idle:
            self._inquire()
            return
        self._refresh_guard()
        self.feed(ev.UsageSeen(model, 0, -float("inf")))

    # -- how operations ended

    def _on_drained(self, model: ModelName, ticket: ev.Ticket) -> None:
        self._refresh_guard()
        self.feed(ev.Drained(model, ticket))

    def _on_loaded(self, prepared: PreparedModel, seconds: float) -> None:
        model = ModelName(prepared.name)
        self._contents.end_load(model, prepared)
        self._load_times[model] = (self._clock.now(), seconds)
        self._accuser.loaded(prepared)
        self._notices.loaded(model, seconds)
        size = self._size(prepared)
        self.feed(ev.LoadSucceeded(model, measured=size, seconds=seconds))
        self._drop_older(model)
        self._tell_loaded(prepared)
        if self._newest(model) != prepared:
            return
        known = self._metadata.get(model)
        if known is None or known[0] != prepared:
            self._operations.describe(prepared)

    def _on_unloaded(self, model: ModelName, problem: str) -> None:
        if problem:
            self._notices.unload_failed(model, problem)
        self.feed(ev.Unloaded(model))
        if self._arrears.kept:
            self.catch_up()

    def catch_up(self) -> None:
        """Charge loaded models with what they are known to take by now, see `Arrears`."""
        for charge in self._arrears.settle(self._withheld_with):
            self.feed(charge)
        self._withhold()

    def _on_rejected(self, model: ModelName, reason: str, passing: bool) -> None:
        """``passing``: the same content may well load at the next try."""
        self._contents.end_load(model, None)
        reason = told(reason)
        self.feed(ev.LoadFailed(model, reason, passing=passing))
        entry = self.entries.get(model)
        self._notices.load_failed(model, reason, final=entry is not None and entry.given_up)

    def _on_verified(self, model: ModelName, present: bool) -> None:
        entry = self.entries.get(model)
        if entry is not None and entry.verifying:
            if not present:
                self._contents.left(model)
            self.feed(ev.Verified(model, present))

    def _on_described(self, prepared: PreparedModel, found: Mapping[str, object]) -> None:
        model = ModelName(prepared.name)
        if self._newest(model) == prepared:
            self._metadata[model] = (prepared, found)
