"""SchedulerService over gRPC: sessions of agents, and watchers. Moves messages; decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import grpc
import grpc.aio

from overbook.manifests.plain_text import plain_text
from overbook.placement import ReplicaId
from overbook.scheduler import agents_in, messages, tokens_in
from overbook.scheduler.actor import Actor
from overbook.scheduler.errors import Conflict, SchedulerError, StoreError, Unavailable
from overbook.scheduler.links import Link, Outcome
from overbook.scheduler.state import State
from overbook.scheduler.watchers import CatalogueWatch
from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc

_LOG: Final = logging.getLogger(__name__)

# Changes that come together go together.
COALESCE_SECONDS: Final = 0.02
HELLO_SECONDS: Final = 10.0
# Reports of one agent that may wait for the actor's turn; then it is not read from.
MAX_REPORTS: Final = 64
# Seconds after which a report that could not be written is tried again.
_REPORT_AGAIN: Final = 1.0

_Session: TypeAlias = "grpc.aio.ServicerContext[pb.AgentToScheduler, pb.SchedulerToAgent]"
_Catalogue: TypeAlias = "grpc.aio.ServicerContext[pb.WatchCatalogueRequest, pb.CatalogueUpdate]"
_Servers: TypeAlias = "grpc.aio.ServicerContext[pb.WatchServersRequest, pb.ServerListUpdate]"

_News: TypeAlias = "grpc.aio.ServicerContext[pb.ReplicaNews, pb.NewsHeard]"


class SchedulerService(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Handlers write through their context, not as generators: a cancelled generator is ended by nobody,
    and with it a session would stay. Hence the deviating return types.
    """

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def AgentSession(  # type: ignore[override]  # noqa: N802
        self, request_iterator: object, context: _Session
    ) -> None:
        """One agent, from hello to the end of its stream."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = await context.read()
        except TimeoutError:
            await context.abort(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no hello within {HELLO_SECONDS:g} s"
            )
        if not isinstance(first, pb.AgentToScheduler) or not first.HasField("hello"):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message of a session is AgentHello"
            )
        replica, hello = messages.hello_of(first.hello)
        if not replica.server:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "hello.replica.server: '' is not a Server's name"
            )
        link = Link(replica)

        async def greet(state: State, now: float) -> None:
            self._actor.links.open(link)
            agents_in.hello(state, replica, hello, now)

        await self._actor.submit(greet, patient=True)
        try:
            await self._talk(link, context)
        finally:
            if self._actor.links.close(link):
                await asyncio.shield(self._leave(replica))

    async def _leave(self, replica: ReplicaId) -> None:
        async def leave(state: State, now: float) -> None:
            agents_in.bye(state, replica, now)

        await self._actor.submit(leave, patient=True)

    async def _talk(self, link: Link, context: _Session) -> None:
        """Until the agent ends the stream, or a newer session of the same replica takes over."""
        reports: asyncio.Queue[pb.StatusReport] = asyncio.Queue(MAX_REPORTS)
        where = link.replica
        await _until_first_ends(
            asyncio.create_task(self._read(link, context, reports), name=f"agent-read-{where}"),
            asyncio.create_task(self._write(link, context), name=f"agent-write-{where}"),
            asyncio.create_task(self._take(link, reports), name=f"agent-reports-{where}"),
        )
        if link.closed:
            await context.abort(
                grpc.StatusCode.ABORTED, f"a newer session of {link.replica} took over"
            )

    async def _read(
        self, link: Link, context: _Session, reports: asyncio.Queue[pb.StatusReport]
    ) -> None:
        """Takes in what needs no turn of the actor; somebody may be waiting for it."""
        while True:
            message = await context.read()
            if not isinstance(message, pb.AgentToScheduler):
                return
            match message.WhichOneof("message"):
                case "status":
                    await reports.put(message.status)
                case "command_result":
                    self._actor.links.answered(link, message.command_result.id, message)
                case "surveys":
                    self._actor.links.answered(link, message.surveys.id, message)
                case "log":
                    self._actor.links.answered(link, message.log.id, message)
                case "event":
                    self._event(link.replica, message.event)
                case "heard":
                    self._actor.hearing.heard(link, message.heard)
                case _:
                    pass

    async def _take(self, link: Link, reports: asyncio.Queue[pb.StatusReport]) -> None:
        """What came while the actor was busy is taken in together.

        A report is told once: where it cannot be written, it is kept and tried again, and the agent is not sent away.
        """
        while True:
            statuses = [await reports.get()]
            while not reports.empty():
                statuses.append(reports.get_nowait())
            while not await self._is_taken(link, statuses):
                pass

    async def _is_taken(self, link: Link, statuses: Sequence[pb.StatusReport]) -> bool:
        """If not, it is time for another try when this returns."""
        try:
            await self._status(link, statuses)
        except StoreError:
            # The actor has said so in the log.
            await asyncio.sleep(_REPORT_AGAIN)
            return False
        return True

    async def _status(self, link: Link, statuses: Sequence[pb.StatusReport]) -> None:
        async def take(state: State, now: float) -> None:
            # A report that crossed with a newer session is of an agent that is no more.
            if not self._actor.links.is_current(link):
                return
            for status in statuses:
                agents_in.report(
                    state, link.replica, [messages.report_of(each) for each in status.models]
                )
                agents_in.gone(state, link.replica, status.gone)
                if status.HasField("server"):
                    said = messages.server_report_of(status.server)
                    agents_in.server_report(state, link.replica, said, now)

        await self._actor.submit(take, patient=True)

    def _event(self, replica: ReplicaId, event: pb.EventReport) -> None:
        self._actor.events.add(
            event.reason,
            kind="Model" if event.model else "Server",
            name=event.model or replica.server,
            message=plain_text(event.message),
            time=event.time,
            warning=event.warning,
            replica=str(replica),
        )

    async def _write(self, link: Link, context: _Session) -> None:
        while True:
            await link.wake.wait()
            if link.closed:
                return
            link.wake.clear()
            if link.secrets:
                # Before what may need them.
                link.secrets = False
                secrets = messages.secrets(self._actor.state)
                await context.write(pb.SchedulerToAgent(secrets=secrets))
            while link.questions:
                await context.write(link.questions.popleft())
            if link.configure:
                link.configure = False
                replica = self._actor.state.seats.replicas.get(link.replica)
                if replica is not None:
                    server = self._actor.state.seats.servers.get(replica.id.server)
                    settings = pb.Configure(
                        memory_bytes=replica.budget,
                        eviction_policy="" if server is None else server.eviction_policy,
                    )
                    await context.write(pb.SchedulerToAgent(configure=settings))
            if link.reset:
                await self._sync(link, context)
            elif link.models:
                await self._changes(link, context)

    async def _sync(self, link: Link, context: _Session) -> None:
        link.reset, revision = False, link.told
        link.models.clear()
        replica = self._actor.state.seats.replicas.get(link.replica)
        names = sorted(replica.models) if replica is not None else []
        reset = True
        for piece, last in messages.chunks(names):
            # Read anew for every piece: what changes meanwhile is marked and follows.
            kept, _ = messages.assignments(self._actor.state, link.replica, piece)
            update = pb.AssignmentUpdate(
                reset=reset, assigned=kept, complete=last, revision=revision if last else 0
            )
            reset = False
            await context.write(pb.SchedulerToAgent(assignments=update))

    async def _changes(self, link: Link, context: _Session) -> None:
        names, revision = sorted(link.models), link.told
        link.models.clear()
        for piece, last in messages.chunks(names):
            kept, revoked = messages.assignments(self._actor.state, link.replica, piece)
            update = pb.AssignmentUpdate(
                assigned=kept, revoked=revoked, revision=revision if last else 0
            )
            await context.write(pb.SchedulerToAgent(assignments=update))

    async def WatchCatalogue(  # type: ignore[override]  # noqa: N802
        self, request_iterator: object, context: _Catalogue
    ) -> None:
        """The whole catalogue, then what changes, until the gateway leaves. It says how far it has followed."""
        first = await context.read()
        if not isinstance(first, pb.WatchCatalogueRequest) or not first.gateway:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first message of a watch names its gateway"
            )
        with self._actor.catalogue.watching(first.gateway) as watch:
            name = first.gateway
            await _until_first_ends(
                asyncio.create_task(self._hear(watch, context), name=f"hear gateway {name}"),
                asyncio.create_task(self._tell(watch, context), name=f"tell gateway {name}"),
            )

    async def _hear(self, watch: CatalogueWatch, context: _Catalogue) -> None:
        while isinstance(message := await context.read(), pb.WatchCatalogueRequest):
            self._actor.hearing.heard(watch, message.heard)
            if message.used:
                await self._note_uses(dict(message.used))

    async def _note_uses(self, used: Mapping[str, float]) -> None:
        async def note(state: State, now: float) -> None:
            for name, at in used.items():
                tokens_in.note_use(state, name, min(at, now))

        try:
            await self._actor.submit(note)
        except SchedulerError as error:
            _LOG.warning("the use of %d tokens was not noted: %s", len(used), error)

    async def _tell(self, watch: CatalogueWatch, context: _Catalogue) -> None:
        now = asyncio.get_running_loop().time
        told = -COALESCE_SECONDS
        while True:
            await watch.wake.wait()
            # The first change goes at once, those that follow it closely go together.
            await asyncio.sleep(max(0.0, told + COALESCE_SECONDS - now()))
            watch.wake.clear()
            await self._catalogue(watch, context)
            told = now()

    async def _catalogue(self, watch: CatalogueWatch, context: _Catalogue) -> None:
        state, revision = self._actor.state, watch.told
        reset, watch.reset = watch.reset, False
        access, watch.access = watch.access, False
        if reset:
            names, replica_ids = list(state.seats.models), list(state.seats.replicas)
        else:
            names, replica_ids = sorted(watch.models), sorted(watch.replicas)
        watch.models.clear()
        watch.replicas.clear()
        first = True
        for piece, last in messages.chunks(names):
            kept, removed = messages.catalogue_models(self._actor.state, piece)
            # Replicas go first, so that no model names one that the gateway has not heard of.
            known, lost = messages.catalogue_replicas(
                self._actor.state, replica_ids if first else ()
            )
            update = pb.CatalogueUpdate(
                reset=reset and first,
                models=kept,
                removed=() if reset else removed,
                replicas=known,
                removed_replicas=() if reset else lost,
                complete=reset and last,
                revision=revision if last else 0,
                access=self._actor.tokens.message() if access and first else None,
            )
            first = False
            await context.write(update)

    async def WatchServers(  # type: ignore[override]  # noqa: N802
        self, request: pb.WatchServersRequest, context: _Servers
    ) -> None:
        """The list of Servers, again whenever it changes, until the supervisor leaves."""
        with self._actor.servers.watching() as wake:
            while True:
                await wake.wait()
                wake.clear()
                await context.write(messages.server_list(self._actor.state))

    async def TellNews(  # noqa: N802
        self, request: pb.ReplicaNews, context: _News
    ) -> pb.NewsHeard:
        """What a machine does before an agent can run."""
        replica, told = messages.news_of(request)

        async def take(state: State, now: float) -> None:
            agents_in.news(state, replica, told, now)

        await self._actor.submit(take, patient=True)
        return pb.NewsHeard()


async def _until_first_ends(*tasks: asyncio.Task[None]) -> None:
    """Until one of the tasks of a stream ends; then all have. Raises what is no fault of the stream."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, grpc.aio.BaseError):
            raise result


async def command(
    actor: Actor, name: str, kind: pb.Command.Kind.ValueType, timeout: float
) -> list[Outcome]:
    """Sends a command to every agent that is assigned the model. Raises NotFound, Conflict, Unavailable."""
    model = actor.state.model(name)
    if model.deleting:
        raise Conflict(f"model {name!r} is being removed; apply it again to keep it")
    replicas = model.assigned
    if not replicas:
        raise Unavailable(f"model {name!r} is assigned to no server replica: {model.reason}")
    return list(
        await asyncio.gather(*(actor.links.command(each, kind, name, timeout) for each in replicas))
    )
