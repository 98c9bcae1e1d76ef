"""The one writer of desired state. Everybody else submits what shall happen and waits until it is durable.

Operations run one after another, never cancelled half way. Those that wait together share one
transaction. Order of every step: change the state, write, and only then tell agents, gateways and
the caller. When writing fails the state are read anew from the store, so that they never hold what is not
written. Nobody but the actor's loop calls a method of `State` that changes it; reading is free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from overbook.access.tokens import Token
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.metrics import VERDICTS
from overbook.placement import Provider, ReplicaId
from overbook.scheduler import secrets_in, tokens_in
from overbook.scheduler.changes import Changes, Note
from overbook.scheduler.errors import SchedulerError, Unavailable
from overbook.scheduler.events import EventRing
from overbook.scheduler.hearing import Hearing
from overbook.scheduler.known_tokens import KnownTokens
from overbook.scheduler.links import Links
from overbook.scheduler.logs import Logs
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.rows import batch_of, restore, token_of
from overbook.scheduler.state import State
from overbook.scheduler.store import Store
from overbook.scheduler.tokens_in import Wanted
from overbook.scheduler.vault import Vault
from overbook.scheduler.watchers import CatalogueHub, ServersHub

_LOG: Final = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[[State, float], Awaitable[T]]

MAX_QUEUE: Final = 1000
MAX_GROUP: Final = 64
# Models placed between two looks at the event loop: about 10 ms.
BITE: Final = 200
# Sizes that agents report are written with the next change, or after this long.
HINT_SECONDS: Final = 2.0
# How long gateways may take to forget a route before the agent hears that the model goes.
SETTLE_SECONDS: Final = 0.5
# How long an answer to people waits for the gateways and agents whom it concerns.
HEARD_SECONDS: Final = 2.0


class _Job:
    """An operation and the future of whoever waits for it."""

    def __init__(self, run: Callable[[State, float], Awaitable[None]]) -> None:
        self.run = run
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Actor:
    """Owns the state, the store and the ways to tell of changes. Run `run` for as long as it lives."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        tokens: KnownTokens,
        defaults: Defaults,
        clock: Callable[[], float],
        providers: Sequence[Provider] = (),
        events: EventRing | None = None,
    ) -> None:
        self._store = store
        self._vault = vault
        self.tokens: Final = tokens
        self.defaults: Final = defaults
        self._clock = clock
        self._providers = tuple(providers)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="overbook-store")
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(MAX_QUEUE)
        self._last_time = 0.0
        self._hints_due: float | None = None
        self._revokes: dict[ReplicaId, set[str]] = {}
        self._revoke_wake = asyncio.Event()
        self.hearing: Final = Hearing()
        self.catalogue: Final = CatalogueHub(self.hearing, clock)
        self.servers: Final = ServersHub()
        self.links: Final = Links(self.hearing)
        self.events: Final = events or EventRing()
        self.logs: Final = Logs(self.links)
        self.state = State()

    async def load(self) -> None:
        """Reads the store. Call once, before `run`. Raises StoreError."""
        await self._reload(live=None)

    async def _reload(self, live: State | None) -> None:
        loop = asyncio.get_running_loop()
        snapshot = await loop.run_in_executor(self._thread, self._store.load)
        secrets = await loop.run_in_executor(self._thread, self._vault.opened, snapshot.secrets)
        self.state = restore(snapshot, self.defaults, self.now(), live, self._providers)
        self.state.secrets = secrets
        self.state.tokens = {each.name: token_of(each) for each in snapshot.tokens}
        read = partial(self.tokens.read_key, needed=bool(snapshot.tokens))
        await loop.run_in_executor(self._thread, read)
        self.tokens.follow(self.state.tokens.values())

    def stop_waiting(self) -> None:
        """From now on who only waits for something to happen is answered at once."""
        self.events.stop_waiting()
        self.logs.stop_waiting()

    def tell_trouble(self, text: str) -> None:
        """An event of what goes wrong in the scheduler itself, and changes nothing."""
        note = Note("AuditLost", "Scheduler", "audit", text, warning=True)
        self._event(note, self.now())

    def now(self) -> float:
        """Unix seconds, strictly increasing, so that times order what happened."""
        self._last_time = max(self._clock(), self._last_time + 1e-6)
        return self._last_time

    async def submit(self, operation: Operation[T], *, patient: bool = False) -> T:
        """Runs an operation when its turn comes and returns once its changes are durable.

        Raises what the operation raised, StoreError when it could not be written, and, unless
        ``patient``, Unavailable when too many wait.
        """
        results: list[T] = []

        async def run(state: State, now: float) -> None:
            results.append(await operation(state, now))

        job = _Job(run)
        if self._queue.full() and not patient:
            raise Unavailable(f"{MAX_QUEUE} changes wait already; try again later")
        await self._queue.put(job)
        await job.done
        return results[0]

    async def set_secret(self, remote: RemoteSecret) -> None:
        """Seals, stores and tells agents of it. Raises Conflict, StoreError, Unavailable."""
        loop = asyncio.get_running_loop()

        async def take(state: State, now: float) -> None:
            secrets_in.refuse_too_many(state, remote)
            first = not state.secrets.keys() - {remote.secret}
            seal = partial(self._vault.sealed, remote, now, first=first)
            stored = await loop.run_in_executor(self._thread, seal)
            secrets_in.put(state, remote.secret, stored)

        await self.submit(take)

    async def add_token(self, wanted: Wanted, text: str) -> Token:
        """Stores what is kept of the text, and tells gateways. Raises Invalid, Conflict, StoreError, Unavailable."""
        loop = asyncio.get_running_loop()

        async def take(state: State, now: float) -> Token:
            tokens_in.check(wanted)
            kept = await loop.run_in_executor(self._thread, self.tokens.digest, text)
            return tokens_in.add(state, wanted, kept, now)

        return await self.submit(take)

    async def unheard(self, replicas: Collection[ReplicaId] = ()) -> list[str]:
        """Waits until all gateways, and the agents of ``replicas``, act by what is durable now. At most HEARD_SECONDS.

        One line about each that is connected and does not yet, and each gateway that is away. Agents that are not
        connected are no gap: nobody is served by one until it has heard everything.
        """
        links, watches = self.links.of(replicas), self.catalogue.watches
        late = await self.hearing.settled([*links, *watches], HEARD_SECONDS)
        slow = f"has not acted on this within {HEARD_SECONDS:g} s, but will as soon as it can"
        return [
            *(f"the agent of {each.name} {slow}" for each in links if each in late),
            *sorted(f"gateway {each.name} {slow}" for each in watches if each in late),
            *(
                f"gateway {name} is not connected; until it is, it uses what it heard last"
                for name in self.catalogue.away()
            ),
        ]

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(), name="scheduler-actor")
                group.create_task(self._revoke(), name="scheduler-revoke")
        finally:
            while not self._queue.empty():
                self._queue.get_nowait().done.cancel()

    async def close(self) -> None:
        """Writes what may still be written and closes the store."""
        changes = self.state.take_changes(self.now())
        loop = asyncio.get_running_loop()
        try:
            if changes.durable or changes.hints:
                batch = batch_of(self.state, changes)
                await loop.run_in_executor(self._thread, self._store.commit, batch)
        except SchedulerError as error:
            _LOG.warning("last changes were not written: %s", error)
        finally:
            await loop.run_in_executor(self._thread, self._store.close)
            self._thread.shutdown()

    async def _work(self) -> None:
        jobs: list[_Job] = []
        while True:
            try:
                await self._group(jobs)
            except Exception as error:
                await self._recover(jobs, error)
            jobs = await self._next()

    async def _next(self) -> list[_Job]:
        """What is queued, or nothing when it is time to write hints, or to end a drain or a wait."""
        deadlines = [
            each for each in (self._hints_due, self.state.next_deadline()) if each is not None
        ]
        timeout = max(0.0, min(deadlines) - self._clock()) if deadlines else None
        try:
            async with asyncio.timeout(timeout):
                jobs = [await self._queue.get()]
        except TimeoutError:
            return []
        while not self._queue.empty() and len(jobs) < MAX_GROUP:
            jobs.append(self._queue.get_nowait())
        return jobs

    async def _run(self, job: _Job) -> bool:
        """Whether it ran to its end; the errors that operations are made to raise change nothing."""
        if job.done.cancelled():
            return False
        try:
            await job.run(self.state, self.now())
        except SchedulerError as error:
            if not job.done.done():
                job.done.set_exception(error)
            return False
        return True

    async def _group(self, jobs: list[_Job]) -> None:
        """Runs them, places what is due, writes, tells, and lets the callers go on."""
        ran = [job for job in jobs if await self._run(job)]
        now = self.now()
        self.state.end_drains(now)
        self.state.end_waits(now)
        for _ in self.state.bites(BITE):
            await asyncio.sleep(0)
        changes = self.state.take_changes(now)
        await self._write(changes)
        self._publish(changes, now)
        for job in ran:
            if not job.done.done():
                job.done.set_result(None)

    async def _recover(self, jobs: list[_Job], error: Exception) -> None:
        """Nothing of the group counts: back to what is written, and everybody hears of that anew."""
        if isinstance(error, SchedulerError):
            _LOG.error("%s", error)
        else:
            _LOG.error("a change failed and was undone", exc_info=error)
            error = Unavailable(f"internal error, nothing was changed: {error!r}; see the log")
        await self._reload(live=self.state)
        self.catalogue.reset()
        self.links.reset()
        self.servers.mark()
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(error)

    async def _write(self, changes: Changes) -> None:
        due = self._hints_due is not None and self._clock() >= self._hints_due
        if not changes.durable and not due:
            # Not worth a transaction of their own: back to the state until there is one.
            if changes.hints:
                self.state.seats.changes.hints |= changes.hints
                if self._hints_due is None:
                    self._hints_due = self._clock() + HINT_SECONDS
            return
        batch = batch_of(self.state, changes)
        self._hints_due = None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._store.commit, batch)

    def _publish(self, changes: Changes, now: float) -> None:
        if changes.routes or changes.replicas:
            self.catalogue.mark(changes.routes, changes.replicas)
        if changes.server_list:
            self.servers.mark()
        if changes.of_secrets:
            self.links.tell_secrets()
        if changes.of_tokens or changes.uses:
            self.tokens.follow(self.state.tokens.values())
        if changes.of_tokens:
            self.catalogue.mark_access()
        for replica in changes.configured:
            self.links.configure(replica)
        for replica, names in changes.told.items():
            self.links.mark(replica, names)
        for replica, names in changes.revoked.items():
            self._revokes.setdefault(replica, set()).update(names)
            self._revoke_wake.set()
        for note in changes.notes:
            self._event(note, now)
        for verdict, count in changes.verdicts.items():
            VERDICTS.labels(verdict).inc(count)

    def _event(self, note: Note, now: float) -> None:
        self.events.add(
            note.reason,
            kind=note.kind,
            name=note.name,
            message=note.message,
            time=now,
            warning=note.warning,
            replica="" if note.replica is None else str(note.replica),
        )

    async def _revoke(self) -> None:
        """Agents hear that a model goes after the gateways have; either way it is drained first."""
        while True:
            await self._revoke_wake.wait()
            self._revoke_wake.clear()
            revokes, self._revokes = self._revokes, {}
            await self.hearing.settled(self.catalogue.watches, SETTLE_SECONDS)
            for replica, names in revokes.items():
                self.links.mark(replica, names)
