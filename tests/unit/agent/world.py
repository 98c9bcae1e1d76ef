"""A whole agent without I/O: real actor, core, assignments, supervisor and reports over a fake server and cache."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from overbook.agent.activation import Activation
from overbook.agent.assembly import AgentLimits, AgentPorts, assemble
from overbook.agent.clock import Clock
from overbook.agent.fetches import Looks
from overbook.agent.followers import Follower
from overbook.agent.guesses import Guess
from overbook.agent.kinds import ArtifactKind
from overbook.agent.memory.gpu import NoGpus
from overbook.agent.memory.history import History
from overbook.agent.memory.machine import Room
from overbook.agent.memory.readings import Reading
from overbook.agent.memory.store import SizeStore
from overbook.agent.notices import EVICTED, FOR_ONE, Notices
from overbook.agent.operations import OperationLimits
from overbook.agent.proven import Proven
from overbook.agent.servers.protocol import ModelRejected, PreparedModel, Weight
from overbook.agent.supervisor import RestartLimits
from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact, Places, Urgent, not_urgent
from overbook.artifacts.errors import ArtifactError, SourceError
from overbook.artifacts.index import Content
from overbook.artifacts.space import Usage
from overbook.artifacts.transfer import Brought, Transferred
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName, Ticket
from overbook.residency.replica import Limits
from overbook.residency.states import State
from overbook.wire import agent_pb2
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import FakeServer
from tests.unit.agent.virtual_time import settle

MB = 1_000_000
A, B, C = "a", "b", "c"


@dataclass(slots=True)
class FakeCache:
    """Artifacts by address: a digest that follows from address and fingerprint, scripted failures and delays."""

    sizes: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    brought: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    kept: list[set[str]] = field(default_factory=list)
    sequence_idle: float = 0.0
    # Digests whose files left the disk, and whose somebody changed; what is known of each; how many read it.
    left: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    # What a look at these digests raises; how often each address was asked; what it has by now.
    raises: dict[str, Exception] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    fingerprints: dict[str, str] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    contents: dict[Asked, Content] = field(default_factory=dict)
    holds: Counter[str] = field(default_factory=Counter)
    troubles: dict[str, SourceError] = field(default_factory=dict)
    # By address: what a fetch takes, and how far it is.
    took: dict[str, Brought] = field(default_factory=dict)
    transfers: dict[str, Transferred] = field(default_factory=dict)
    # Whether a fetch is urgent, as was said last; how often models left memory.
    urgent: dict[str, Urgent] = field(default_factory=dict)
    changes: int = 0
    # From where anything is wanted, as was said last.
    places: set[str] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def fetched(self, asked: Asked, urgent: Urgent = not_urgent) -> AsyncIterator[Artifact]:
        self.urgent[asked.storage_uri] = urgent
        artifact = await self.fetch(asked)
        with self.holding(artifact.digest):
            yield artifact

    async def fetch(self, asked: Asked) -> Artifact:
        storage_uri = asked.storage_uri
        self.asked[storage_uri] += 1
        await asyncio.sleep(self.seconds.get(storage_uri, 0.0))
        if storage_uri in self.failures:
            raise ArtifactError(self.failures[storage_uri])
        if storage_uri in self.troubles:
            raise self.troubles[storage_uri]
        self.brought.append(storage_uri)
        digest = self._digest(storage_uri, asked.fingerprint)
        self.damaged.discard(digest)
        self.left.discard(digest)
        artifact = Artifact(
            Path("/cache") / digest,
            digest,
            self.sizes.get(storage_uri, MB),
            self.fingerprints.get(storage_uri, asked.fingerprint),
            brought=self.took.get(storage_uri),
        )
        if asked.fingerprint:
            self.contents[asked] = Content(digest, artifact.bytes)
        return artifact

    def known(self, asked: Asked) -> Content | None:
        found = self.contents.get(asked)
        return None if found is None else replace(found, facts=self.facts.get(found.digest, ""))

    def is_here(self, digest: str) -> bool:
        return digest not in self.left

    def artifact(self, content: Content, fingerprint: str) -> Artifact:
        return Artifact(Path("/cache") / content.digest, content.digest, content.bytes, fingerprint)

    @contextlib.contextmanager
    def holding(self, digest: str) -> Iterator[None]:
        self.holds[digest] += 1
        try:
            yield
        finally:
            self.holds[digest] -= 1

    async def intact(self, digest: str) -> bool:
        if digest in self.raises:
            raise self.raises[digest]
        if digest not in self.touched:
            return True
        self.touched.discard(digest)
        self.left.add(digest)
        return False

    def note(self, digest: str, facts: str) -> None:
        self.facts[digest] = facts

    def changed(self) -> None:
        self.changes += 1

    def usage(self) -> Usage:
        return Usage(0, 0, 0, 0)

    def transferred(self, asked: Asked) -> Transferred | None:
        return self.transfers.get(asked.storage_uri)

    def _digest(self, storage_uri: str, fingerprint: str = "1") -> str:
        name = storage_uri.replace("://", "-").strip("/")
        if "://" in storage_uri:
            name = name.replace("/", "-")
        return self.digests.get(storage_uri) or f"{name}-{fingerprint}"

    def held(self, digest: str, size: int) -> Artifact | None:
        return Artifact(Path("/cache") / digest, digest, size)

    async def sequence_idle_of(self, folder: Path) -> float:
        return self.sequence_idle

    async def kind_of(self, folder: Path) -> ArtifactKind:
        """Each artifact is of the one kind; its size is told by its name."""
        found = {self._digest(uri): size for uri, size in self.sizes.items()}
        return ArtifactKind("pickle:some.Estimator", found.get(folder.name, MB))

    async def verify(self, digest: str) -> bool:
        self.verified.append(digest)
        return digest not in self.damaged

    async def drop_parts(self, places: Places) -> None:
        self.places = set(places())

    async def prune(self, keep: set[str]) -> int:
        self.kept.append(keep)
        return 0


async def nothing(folder: Path) -> str:
    """What no file tells."""
    return ""


async def nobody(folder: Path) -> tuple[str, ...]:
    """Whom no file calls."""
    return ()


class Server(FakeServer):
    """Reads nothing; damaged copies are refused; ``loaded_from`` has what was given to it, in order.

    ``raises``: what a look at the artifact brings, which nobody declared; ``raises_weighing``: what the scale does.
    """

    def __init__(self, cache: FakeCache, *, weighs: bool, counts_requests: bool) -> None:
        super().__init__(asyncio.sleep, weighs=weighs, counts_requests=counts_requests)
        self.cache = cache
        self.loaded_from: list[PreparedModel] = []
        self.invalid: dict[str, str] = {}
        self.broken: dict[
            str, str
        ] = {}  # artifacts that cannot be loaded, and what is said of them
        self.raises: dict[str, Exception] = {}
        self.raises_weighing: Exception | None = None
        self.stubborn = False

    async def validate(self, model: PreparedModel) -> None:
        if model.artifact.name in self.raises:
            raise self.raises[model.artifact.name]
        if model.artifact.name in self.invalid:
            raise ModelRejected(self.invalid[model.artifact.name])

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        self.loaded_from.append(model)
        if model.artifact.name in self.broken:
            self.calls.append(f"load {model.name}")
            raise ModelRejected(self.broken[model.artifact.name])
        if model.artifact.name in self.cache.damaged:
            self.calls.append(f"load {model.name}")
            raise ModelRejected("unpickling failed")
        if self.stubborn:
            # Takes its cancellation for success, as wait_for does when both come in the same turn.
            self.calls.append(f"load {model.name}")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(5.0)
            return
        await super().load(model, timeout=timeout)

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        if self.raises_weighing is not None:
            raise self.raises_weighing
        return await super().weigh(model, timeout=timeout, request=request)

    @property
    def loads(self) -> list[str]:
        return [call.removeprefix("load ") for call in self.calls if call.startswith("load ")]


class FakeProbe:
    """Looks at the fake server: exact, at once."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.borrowed = 0  # by inference, for a moment
        self.highest = 0
        self.reads = 0

    def quick(self) -> int | None:
        return None if self._server.pid is None else self._server.held + self.borrowed

    async def read(self) -> Reading | None:
        self.reads += 1
        held = self.quick()
        return None if held is None else Reading(held, held, 1)

    def peak(self) -> int | None:
        return max(self.highest, self.quick() or 0)


class World:
    """Use `world()`. Times are virtual."""

    def __init__(
        self,
        budget: int,
        limits: Limits,
        operations: OperationLimits,
        *,
        watching: bool = False,
        history: History | None = None,
        proven: Proven | None = None,
        weighs: bool = False,
        counts_requests: bool = False,
    ) -> None:
        self.watching = watching
        self.clock = Clock()
        self.notices = Notices("mlserver", 0, self.clock)
        self.cache = FakeCache()
        self.server = Server(self.cache, weighs=weighs, counts_requests=counts_requests)
        self.probe = FakeProbe(self.server)
        self.history = history or History(Path(":memory:"))
        self.proven = proven or Proven(Path(":memory:"))
        self.room: Room | None = None
        self.agent = assemble(
            AgentPorts(
                server=self.server,
                spare=None,
                cache=self.cache,
                looks=Looks(
                    kind=self.cache.kind_of,
                    sequence_idle=self.cache.sequence_idle_of,
                    made_for=nothing,
                    callees=nobody,
                ),
                probe=self.probe,
                members=tuple,
                gpus=NoGpus(),
                room=lambda: self.room,
                store=SizeStore(Path(":memory:"), "mlserver"),
                guess=Guess(),
                history=self.history,
                proven=self.proven,
                notices=self.notices,
                clock=self.clock,
            ),
            AgentLimits(budget, limits, operations, RestartLimits()),
        )
        self.actor = self.agent.actor
        self.assignments = self.agent.assignments
        self.supervisor = self.agent.supervisor
        self.sizes = self.agent.sizes
        self.meter = self.agent.meter
        self.recycling = self.agent.recycling
        self.weigher = self.agent.weigher
        self.verifier = self.agent.verifier
        self.reporter = self.agent.reporter
        self.watch = self.agent.watch

    async def run(self) -> None:
        await self.agent.run(watching=self.watching)

    # -- shortcuts

    async def assign(self, *specs: pb.AssignedModel) -> None:
        self.assignments.update(pb.AssignmentUpdate(assigned=specs))
        await settle()

    async def revoke(self, *names: str) -> None:
        self.assignments.update(pb.AssignmentUpdate(revoked=names))
        await settle()

    async def activate(
        self, name: str, *, timeout: float = 30.0, suspect: bool = False
    ) -> Activation:
        """As a person does: no request follows."""
        activation = await self.grant(name, timeout=timeout, suspect=suspect)
        if activation.refusal is None:
            self.actor.passed(activation.request)
        return activation

    async def grant(self, name: str, *, timeout: float = 30.0, suspect: bool = False) -> Activation:
        """The model stays until `Actor.passed`."""
        return await self.assignments.activate(ModelName(name), timeout=timeout, suspect=suspect)

    def wish(self, name: str, *, timeout: float = 30.0) -> asyncio.Task[Activation]:
        return asyncio.create_task(self.activate(name, timeout=timeout))

    def follow(self, name: str = "gateway") -> Follower:
        return self.actor.followers.attach(name)

    def heard(self, follower: Follower) -> list[agent_pb2.AgentToGateway]:
        return self.actor.followers.messages_for(follower)

    def withdrawal(self, follower: Follower) -> Ticket:
        """Of the order to withdraw that the gateway was given last."""
        orders = [each.withdraw for each in self.heard(follower) if each.HasField("withdraw")]
        return Ticket(orders[-1].ticket)

    def state(self, name: str) -> State | None:
        entry = self.actor.entries.get(ModelName(name))
        return None if entry is None else entry.state

    def report(self, name: str) -> pb.ModelReport:
        report = self.reporter.model(name)
        assert report is not None
        return report

    def events(self) -> list[str]:
        return [event.reason for event in self.notices.events]


@contextlib.asynccontextmanager
async def world(
    *,
    budget: int = 10 * MB,
    limits: Limits | None = None,
    operations: OperationLimits | None = None,
    server_up: bool = True,
    watching: bool = False,
    history: History | None = None,
    proven: Proven | None = None,
    weighs: bool = False,
    counts_requests: bool = False,
) -> AsyncIterator[World]:
    """A running agent; its server is up unless told otherwise. An error in it fails the test."""
    made = World(
        budget,
        limits or Limits(),
        operations or OperationLimits(),
        watching=watching,
        history=history,
        proven=proven,
        weighs=weighs,
        counts_requests=counts_requests,
    )
    if not server_up:
        made.server.start_failure = "not yet"
    running = asyncio.create_task(made.run())
    await settle()
    try:
        yield made
        assert not running.done(), "the agent ended"
    finally:
        if running.done():
            running.result()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def spec(
    name: str,
    generation: int = 1,
    *,
    uri: str = "",
    fingerprint: str = "1",
    memory: int | None = MB,
    pinned: bool = False,
    keep_alive: float = 0.0,
    version: str = "",
) -> pb.AssignedModel:
    """From ``/NAME``, of one MB, unless told otherwise."""
    return pb.AssignedModel(
        name=name,
        generation=generation,
        storage_uri=uri or f"/{name}",
        fingerprint=fingerprint,
        memory_bytes=memory,
        pinned=pinned,
        keep_alive_seconds=keep_alive,
        artifact_version=version,
    )


def charged(made: World) -> int:
    """Bytes of all models in the ledger."""
    return made.actor.statistics().charged


def causes(made: World) -> list[str]:
    """Why models left, the first first."""
    told = [each.message for each in made.notices.events if each.reason == "ModelEvicted"]
    return [next(cause.value for cause in Cause if _says(each, cause)) for each in told]


def _says(message: str, cause: Cause) -> bool:
    """Whether these are the words for that cause, whichever model it was for."""
    before, _, after = FOR_ONE.get(cause, EVICTED[cause]).partition("{}")
    named = cause in FOR_ONE and message.startswith(before) and message.endswith(after)
    return named or message == EVICTED[cause]
