"""The gateway's side of the agents: one stream per replica, and calls to activate and describe.

Follows what an agent says is hot and what must be withdrawn. While an agent is away, its routes stay:
hot requests go on. Decides no residency.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeAlias, TypeVar

import grpc

from overbook.gateway.catalogue import Catalogue, ReplicaEntry
from overbook.gateway.drain import DrainWatch
from overbook.gateway.errors import EnvoyUnavailable, SnapshotRejected
from overbook.gateway.oip.ports import ServerAddress, ServersConfiguration
from overbook.gateway.places import Place
from overbook.gateway.router import Router, ServerAddresses
from overbook.gateway.usage import Usage
from overbook.wire import agent_pb2, agent_pb2_grpc
from overbook.wire.in_process import connect
from overbook.wire.peers import Peers

_log = logging.getLogger(__name__)

_BACKOFF_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_METADATA_SECONDS: Final = 5.0
# What Envoy refused it will take only when something changed.
_REFUSED_SECONDS: Final = 1.0
_UNHEARD: Final = "its agent cannot be reached"
_Told = TypeVar("_Told")
_Outgoing: TypeAlias = "asyncio.Queue[agent_pb2.GatewayToAgent]"
# Numbers of calls to activate, of this process: none is used twice.
_numbers: Final = count(1)


class AgentUnreachable(Exception):
    """The agent cannot be asked now: ask another replica's, or later."""


@dataclass(frozen=True, slots=True)
class FollowPorts:
    """What a stream acts upon. ``told_again``: told a replica and its server's address before requests go there, and
    once more when they do.
    """

    router: Router
    drains: DrainWatch
    told_again: Callable[[str, ServerAddress], Awaitable[None]]


class AgentCall:
    """One call to make a model resident. From its answer on the agent keeps the model until `over`."""

    def __init__(self, link: AgentLink, request: agent_pb2.ActivateRequest) -> None:
        self._link = link
        self._request = request
        self._refused = False

    async def reply(self) -> agent_pb2.ActivateReply:
        """Raises AgentUnreachable."""
        reply = await self._link.ask(self._request)
        self._refused = reply.outcome != agent_pb2.ActivateReply.RESIDENT
        return reply

    def over(self) -> None:
        """Whoever waited for it was let through, or has left. A call whose end nobody heard may have gone well."""
        if not self._refused:
            self._link.passed(self._request.model, self._request.call)


class AgentLink:
    """One replica's agent. `run` keeps the stream alive until cancelled. ``gateway``: what this process is called.

    ``peers``: how parts know each other at a port.
    """

    def __init__(
        self, entry: ReplicaEntry, gateway: str, ports: FollowPorts, peers: Peers | None
    ) -> None:
        self._replica = entry.name
        self._gateway = gateway
        self._router = ports.router
        self._drains = ports.drains
        self._told_again = ports.told_again
        self._channel = connect(entry.agent_target, peers)
        self._stub = agent_pb2_grpc.AgentServiceStub(self._channel)
        self._outgoing: _Outgoing | None = None
        self._draining: dict[str, asyncio.Task[None]] = {}
        self._named: set[str] | None = None
        # Said while the stream has begun and the agent has not said a word yet.
        self._unsaid: list[tuple[str, int]] = []
        self._group: asyncio.TaskGroup | None = None
        # Why the inference server can serve nothing now; "" when it can.
        self.down = _UNHEARD

    async def run(self) -> None:
        """Follow the agent for ever, connecting again when the stream is lost."""
        failures = 0
        try:
            while True:
                heard = await self._follow()
                failures = 0 if heard else failures + 1
                await asyncio.sleep(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
        finally:
            await self._channel.close()

    def call(self, model: str, *, timeout: float, suspect: bool) -> AgentCall:
        """Asks for the model to be resident, at most ``timeout`` seconds."""
        request = agent_pb2.ActivateRequest(
            model=model,
            timeout_seconds=timeout,
            suspect=suspect,
            gateway=self._gateway,
            call=next(_numbers),
        )
        return AgentCall(self, request)

    async def ask(self, request: agent_pb2.ActivateRequest) -> agent_pb2.ActivateReply:
        """Raises AgentUnreachable."""
        try:
            # The agent keeps the deadline; the extra second is for its answer.
            return await self._stub.Activate(request, timeout=request.timeout_seconds + 1.0)
        except grpc.aio.AioRpcError as error:
            raise AgentUnreachable(f"agent of {self._replica}: {error.details()}") from error

    def passed(self, model: str, call: int) -> None:
        """Tell the agent that nobody waits for what this call granted any more.

        While it is away that is not needed: it waits for no gateway whose stream it lost.
        """
        place = self._router.places.find(model, self._replica)
        if self._outgoing is None or self._group is None:
            self._unsaid.append((model, call))
        elif place is None or place.hot or self._router.is_counted(place):
            self._say_passed(model, call, self._outgoing)
        else:
            # It was withdrawn meanwhile, and perhaps all that is in flight there was looked at before this.
            self._group.create_task(
                self._pass_when_idle(place, call, self._outgoing), name=f"passed {model}"
            )

    async def _pass_when_idle(self, place: Place, call: int, outgoing: _Outgoing) -> None:
        await self._drains.wait_idle(place)
        self._say_passed(place.model, call, outgoing)

    def _say_passed(self, model: str, call: int, outgoing: _Outgoing) -> None:
        grants = self._router.grants
        passed = agent_pb2.Passed(
            model=model,
            calls=[call],
            granted=grants.total(self._replica, model),
            epoch=grants.epoch(self._replica),
        )
        outgoing.put_nowait(agent_pb2.GatewayToAgent(passed=passed))

    async def evict(self, model: str, *, timeout: float) -> agent_pb2.EvictReply:
        """Have a person's wish done that the model is cold, within ``timeout`` seconds. Raises AgentUnreachable."""
        request = agent_pb2.EvictRequest(model=model, timeout_seconds=timeout)
        try:
            return await self._stub.Evict(request, timeout=timeout + 1.0)
        except grpc.aio.AioRpcError as error:
            raise AgentUnreachable(f"agent of {self._replica}: {error.details()}") from error

    async def metadata(self, model: str) -> Mapping[str, object] | None:
        """OIP metadata of a model, without loading it. Raises AgentUnreachable."""
        try:
            reply = await self._stub.Metadata(
                agent_pb2.MetadataRequest(model=model), timeout=_METADATA_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise AgentUnreachable(f"agent of {self._replica}: {error.details()}") from error
        if not reply.found:
            return None
        found: dict[str, object] = json.loads(reply.json)
        return found

    async def configuration(self, model: str) -> ServersConfiguration | None:
        """What its server said of a model's configuration when it was loaded last. Raises AgentUnreachable."""
        try:
            reply = await self._stub.Configuration(
                agent_pb2.ConfigurationRequest(model=model), timeout=_METADATA_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise AgentUnreachable(f"agent of {self._replica}: {error.details()}") from error
        return ServersConfiguration(reply.json, reply.message) if reply.found else None

    def report(self, usages: Sequence[Usage]) -> None:
        """Tell the agent what its models did. Dropped while the agent is away."""
        if self._outgoing is None:
            return
        report = agent_pb2.UsageReport(
            models=[
                agent_pb2.ModelUsage(
                    model=usage.place.model, in_flight=usage.in_flight, requests=usage.requests
                )
                for usage in usages
            ]
        )
        self._outgoing.put_nowait(agent_pb2.GatewayToAgent(usage=report))

    async def _follow(self) -> bool:
        """One stream, until it is lost. True when the agent said anything."""
        outgoing: _Outgoing = asyncio.Queue()
        hello = agent_pb2.GatewayHello(gateway=self._gateway)
        outgoing.put_nowait(agent_pb2.GatewayToAgent(hello=hello))
        self._named = None
        self._unsaid.clear()
        heard = False
        call = self._stub.Follow(_drain_queue(outgoing))
        try:
            async with asyncio.TaskGroup() as group:
                async for message in call:
                    if not heard:
                        self._heard_of(outgoing, group)
                    heard = True
                    await self._take_in(message, outgoing, group)
                raise _StreamEnded
        except* grpc.aio.AioRpcError as group_error:
            _log.info("agent of %s: stream lost: %s", self._replica, group_error.exceptions[0])
        except* _StreamEnded:
            _log.info("agent of %s: stream ended", self._replica)
        finally:
            self.down = _UNHEARD
            self._outgoing = self._group = None
            self._draining.clear()
            call.cancel()
        return heard

    def _heard_of(self, outgoing: _Outgoing, group: asyncio.TaskGroup) -> None:
        """What is to be said waits for the agent's first word: it may not be ready for it."""
        self._outgoing, self._group = outgoing, group
        unsaid, self._unsaid = self._unsaid, []
        for model, call in unsaid:
            self.passed(model, call)

    async def _take_in(
        self,
        message: agent_pb2.AgentToGateway,
        outgoing: _Outgoing,
        group: asyncio.TaskGroup,
    ) -> None:
        kind = message.WhichOneof("message")
        if kind == "address":
            if message.address.rest and message.address.grpc:
                addresses = ServerAddresses(
                    rest=message.address.rest,
                    grpc=message.address.grpc,
                    infer=message.address.infer,
                    counts_requests=message.address.counts_requests,
                )
                self._router.grants.begin(self._replica, message.address.epoch)
                where = ServerAddress(addresses.rest, addresses.grpc)
                await self._told_again(self._replica, where)
                await self._router.set_address(self._replica, addresses)
                # What was told to the others in the meantime.
                await self._told_again(self._replica, where)
                self.down = ""
            else:
                self._router.set_down(self._replica)
                self.down = "its inference server is not up"
        elif kind == "hot":
            self._hot(message.hot)
        elif kind == "withdraw":
            task = group.create_task(
                self._withdraw(message.withdraw, outgoing),
                name=f"withdraw {message.withdraw.model} from {self._replica}",
            )
            self._cancel_drain(message.withdraw.model)
            self._draining[message.withdraw.model] = task

    def _hot(self, update: agent_pb2.HotUpdate) -> None:
        if update.reset:
            self._named = set()
        if self._named is not None:
            self._named.update(update.models)
        for model in update.models:
            self._cancel_drain(model)
        self._router.make_hot(self._replica, update.models)
        if update.complete and self._named is not None:
            self._router.forget_hot(self._replica, keep=self._named)
            self._named = None

    def _cancel_drain(self, model: str) -> None:
        task = self._draining.pop(model, None)
        if task is not None:
            task.cancel()

    async def _withdraw(
        self,
        order: agent_pb2.Withdraw,
        outgoing: _Outgoing,
    ) -> None:
        while True:
            try:
                await self._router.withdraw(self._replica, [order.model])
                break
            except EnvoyUnavailable as error:
                _log.warning("withdraw %s: %s; asking again", order.model, error)
            except SnapshotRejected as error:
                # The agent's deadline ends that drain, and the fallback serves whoever meets the gap.
                _log.error("withdraw %s: %s; its route stays", order.model, error)
                await asyncio.sleep(_REFUSED_SECONDS)
        place = self._router.places.find(order.model, self._replica)
        if place is not None and not self._router.is_counted(place):
            await self._drains.wait_idle(place)
            self._router.drained(order.model, self._replica)
        grants = self._router.grants
        withdrawn = agent_pb2.Withdrawn(
            model=order.model,
            ticket=order.ticket,
            granted=grants.total(self._replica, order.model),
            epoch=grants.epoch(self._replica),
        )
        outgoing.put_nowait(agent_pb2.GatewayToAgent(withdrawn=withdrawn))
        if self._draining.get(order.model) is asyncio.current_task():
            del self._draining[order.model]


class _StreamEnded(Exception):
    """The agent closed the stream in good order."""


async def _drain_queue(
    queue: _Outgoing,
) -> AsyncIterator[agent_pb2.GatewayToAgent]:
    while True:
        yield await queue.get()


class Agents:
    """The agents of all replicas in the catalogue. `run` follows them until cancelled."""

    def __init__(
        self, catalogue: Catalogue, gateway: str, ports: FollowPorts, peers: Peers | None
    ) -> None:
        self._catalogue = catalogue
        self._peers = peers
        self._gateway = gateway
        self._ports = ports
        self._links: dict[str, tuple[ReplicaEntry, AgentLink, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()

    def link(self, replica: str) -> AgentLink | None:
        """The agent of a replica, None when the catalogue does not know it."""
        held = self._links.get(replica)
        return None if held is None else held[1]

    def catalogue_changed(self) -> None:
        """Replicas came, went or moved: follow the right ones."""
        self._changed.set()

    def report(self, usages: Sequence[Usage]) -> None:
        """Pass usage on to the agents of the places' replicas."""
        by_replica: defaultdict[str, list[Usage]] = defaultdict(list)
        for usage in usages:
            by_replica[usage.place.replica].append(usage)
        for replica, mine in by_replica.items():
            link = self.link(replica)
            if link is not None:
                link.report(mine)

    def down(self) -> Mapping[str, str]:
        """Server replicas that models are assigned to and that can serve nothing now, and why."""
        return {name: why for name, why in self._states().items() if why}

    def up(self) -> list[str]:
        """Those that can."""
        return [name for name, why in self._states().items() if not why]

    def kinds(self) -> set[str]:
        """Which kinds of servers there are."""
        return {replica.runtime for replica in self._catalogue.replicas().values()}

    def addresses(self, kind: str) -> list[ServerAddress]:
        """Those servers of this kind that can be asked."""
        of_kind = (
            self._ports.router.address(name)
            for name, replica in self._catalogue.replicas().items()
            if replica.runtime == kind
        )
        return [ServerAddress(each.rest, each.grpc) for each in of_kind if each is not None]

    def holding(self, model: str) -> ServerAddress | None:
        """A server that has the model in memory."""
        for place in self._ports.router.places.of_model(model):
            found = self._ports.router.address(place.replica) if place.hot else None
            if found is not None:
                return ServerAddress(found.rest, found.grpc)
        return None

    def _states(self) -> dict[str, str]:
        links = {name: self.link(name) for name in self._catalogue.assigned_replicas()}
        return {name: _UNHEARD if link is None else link.down for name, link in links.items()}

    async def metadata(self, model: str) -> Mapping[str, object] | None:
        """OIP metadata of a registered model from any replica that can tell, else None."""
        return await self._of_any(model, lambda link: link.metadata(model))

    async def configuration(self, model: str) -> ServersConfiguration | None:
        """As `metadata`."""
        return await self._of_any(model, lambda link: link.configuration(model))

    async def _of_any(
        self, model: str, ask: Callable[[AgentLink], Awaitable[_Told | None]]
    ) -> _Told | None:
        entry = self._catalogue.find(model)
        for replica in entry.replicas if entry is not None else ():
            link = self.link(replica)
            if link is None:
                continue
            with contextlib.suppress(AgentUnreachable):
                found = await ask(link)
                if found is not None:
                    return found
        return None

    async def run(self) -> None:
        """Follow the agents of the catalogue's replicas until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._reconcile(group)
                await self._changed.wait()
                self._changed.clear()

    def _reconcile(self, group: asyncio.TaskGroup) -> None:
        wanted = self._catalogue.replicas()
        for name, (entry, _, task) in list(self._links.items()):
            now = wanted.get(name)
            if now is None or now.agent_target != entry.agent_target:
                task.cancel()
                del self._links[name]
            if now is None:
                self._ports.router.forget_replica(name)
        for name, entry in wanted.items():
            if name not in self._links:
                link = AgentLink(entry, self._gateway, self._ports, self._peers)
                task = group.create_task(link.run(), name=f"agent of {name}")
                self._links[name] = (entry, link, task)
