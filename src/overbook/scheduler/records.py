"""The scheduler's records in memory: Models, Servers, secrets, server replicas and what agents reported. No behaviour
beyond what follows from one record alone; `state` keeps them consistent with each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple

from overbook.artifacts.address import plain
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.survey import Survey
from overbook.artifacts.transfer import Transferred
from overbook.manifests.specs import Attachment, ModelSpec, ServerEnvironment
from overbook.placement import ReplicaId, Unseen


class Role(IntEnum):
    """Why a model has a seat on a server replica; the numbers are stored."""

    ASSIGNED = 0
    LEAVING = 1  # serves until the ones it moves to are available
    REVOKING = 2  # told to go; its bytes count until the agent says that it is gone


class Reason(Enum):
    """Of the condition ModelReady."""

    AVAILABLE = "ModelAvailable"
    PROGRESSING = "ModelProgressing"
    FAILED = "ModelFailed"
    SCHEDULE_FAILED = "ScheduleFailed"
    SCALED_DOWN = "ModelScaledDown"  # its owner wants no replica of it
    TERMINATING = "ModelTerminating"


@dataclass(frozen=True, slots=True)
class Condition:
    """``since``: Unix seconds of the last change of ``status``."""

    status: bool
    reason: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a request would be answered, by whatever generation; None: no replica has told yet. ``reason``: why
    it would not.
    """

    ready: bool | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactAddress:
    """Where a model's files are. ``storage_uri``: see `plain`. ``secret``: the name of what is needed to be let in
    there, "" for none. ``version``: the one folder of the artifact that is meant, "" where nobody chose.
    """

    storage_uri: str
    secret: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a Model's spec asks for, in numbers. ``storage_uri``: see `plain`."""

    storage_uri: str
    requirements: tuple[str, ...] = ()
    memory: int | None = None
    replicas: int = 1
    min_replicas: int | None = None
    server: str | None = None
    pinned: bool = False
    priority: int = 0
    keep_alive: float = 0.0  # seconds
    activation_timeout: float | None = None  # seconds; None for the gateways' own
    artifact_version: int | None = None
    verify: bool = True
    callees: tuple[str, ...] = ()  # that the manifest names
    parameters: tuple[tuple[str, str], ...] = ()  # by name
    secret: str = ""  # its name
    refresh: float = 0.0  # seconds between two looks at what is there; 0 for applies alone

    @classmethod
    def from_spec(cls, spec: ModelSpec) -> Needs:
        return cls(
            storage_uri=plain(spec.storage_uri),
            refresh=spec.refresh_seconds,
            requirements=spec.all_requirements,
            memory=spec.memory_bytes,
            replicas=spec.replicas,
            min_replicas=spec.min_replicas,
            server=spec.server,
            pinned=spec.pinned,
            priority=spec.priority,
            keep_alive=spec.keep_alive_seconds,
            activation_timeout=spec.activation_timeout_seconds,
            artifact_version=spec.artifact_version,
            verify=spec.verify,
            callees=spec.needs,
            parameters=tuple(sorted((each.name, each.value) for each in spec.parameters)),
            secret=spec.secret_name or "",
        )

    def same_content(self, other: Needs) -> bool:
        """Whether both load the same thing; pins, sizes, waits, replicas and secrets are no content."""
        return self._content == other._content

    @property
    def artifact(self) -> ArtifactAddress:
        version = "" if self.artifact_version is None else str(self.artifact_version)
        return ArtifactAddress(self.storage_uri, self.secret, version)

    @property
    def _content(self) -> tuple[object, ...]:
        return (self.storage_uri, self.requirements, self.artifact_version, self.parameters)


def guessed_size(artifact_bytes: int) -> int:
    """Bytes in memory of files of this size, until an agent knows better: as many.

    Most become a little more, some less. A guess must not keep away what fits: nobody would ever measure it then.
    """
    return artifact_bytes


def contradicts(measured: int, declared: int) -> bool:
    """Whether a manifest is off by more than a quarter, and by more than can be measured (1 MiB)."""
    return abs(measured - declared) > max(1 << 20, declared // 4)


class Weight(NamedTuple):
    """What a model is reckoned with, in bytes. ``size``: against the overcommit limit. ``claim``: the same, by what
    was known when it was admitted: declared, else guessed from its files. ``takes``: what it is known to take.
    """

    size: int
    claim: int
    takes: int


def weigh(declared: int | None, artifact_bytes: int, learned: int) -> Weight:
    """``learned``: what agents say that it takes, 0 when they say nothing.

    A declaration holds for as long as the truth does not contradict it.
    """
    claim = declared or guessed_size(artifact_bytes)
    if not learned:
        return Weight(claim, claim, claim)
    if declared and not contradicts(learned, declared):
        return Weight(declared, claim, learned)
    return Weight(learned, claim, learned)


@dataclass(slots=True)
class Model:
    """A registered model. ``metadata`` is what its manifest had beyond the name, ``spec`` canonical JSON.

    ``content_generation``: the generation in which what is loaded last changed. ``learned_bytes``: what agents
    measured, or reckon with where nothing is declared; 0 for nothing. ``pin``: what `pin` or
    `unpin` said; it stands until a manifest speaks of ``pinned`` itself. ``created``: Unix seconds,
    strictly increasing, so it is also the order of registration. ``fingerprint``, ``artifact_bytes``, ``made_for`` and
    ``called`` are what an agent told of its files, see `Survey`; ``unseen``: why none has looked since an
    apply asked for that.
    """

    name: str
    api_version: str
    generation: int
    content_generation: int
    metadata: str
    spec: str
    pin: bool | None
    created: float
    deleting: bool
    fingerprint: str
    artifact_bytes: int
    learned_bytes: int
    needs: Needs
    made_for: str = ""
    seats: dict[ReplicaId, Role] = field(default_factory=dict)
    reason: str = ""
    waiting: bool = False
    condition: Condition | None = None
    readiness: Readiness = Readiness(None)
    unseen: Unseen | None = None
    called: tuple[str, ...] = ()

    @property
    def callees(self) -> tuple[str, ...]:
        """Models that it calls, by its manifest and by its files; each once."""
        return tuple(dict.fromkeys((*self.needs.callees, *self.called)))

    @property
    def weight(self) -> Weight:
        return weigh(self.needs.memory, self.artifact_bytes, self.learned_bytes)

    @property
    def size(self) -> int:
        """Bytes to reckon with against the overcommit limit."""
        return self.weight.size

    @property
    def needed(self) -> int:
        """Replicas that must be available for the model to be ready; 0 when it is to be served nowhere."""
        least, most = self.needs.min_replicas, self.needs.replicas
        return most if least is None else min(most, max(1, least))

    def with_role(self, role: Role) -> list[ReplicaId]:
        return [replica for replica, each in self.seats.items() if each is role]

    @property
    def assigned(self) -> list[ReplicaId]:
        return self.with_role(Role.ASSIGNED)


@dataclass(slots=True)
class Server:
    """A kind of inference server. ``memory`` and ``overcommit`` are in force, defaults applied."""

    name: str
    api_version: str
    generation: int
    metadata: str
    spec: str
    created: float
    runtime: str
    replicas: int
    memory: int
    overcommit: int
    capabilities: frozenset[str] | None
    extra_capabilities: tuple[str, ...]
    attachment: Attachment | None = None
    environment: ServerEnvironment | None = None
    condition: Condition | None = None
    eviction_policy: str = ""
    allow: tuple[str, ...] = ()
    deny_pickle: bool = False


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret as it is stored; ``updated``: Unix seconds. ``remote``: None where it cannot be opened, and then
    ``trouble`` says why, and what to do.
    """

    sealed: bytes = field(repr=False)
    updated: float
    remote: RemoteSecret | None
    trouble: str = ""


@dataclass(slots=True)
class Report:
    """What an agent last said of a model; bytes and Unix seconds. ``state`` is wire's number. ``unverified``: why
    nobody knows whether it can be loaded, "" when it was.

    ``final``: it failed, and is not tried again before something changes or a person asks. ``retry_at``: Unix seconds
    of the next try of its fetch, 0 where none is to come. ``warnings``: what may be wrong with it although it can be
    served. ``transfer``: how far the fetch of its files is, None while there is none; ``files_here``: they are on its
    disk; ``found``: what showed when they came from elsewhere, None before.
    """

    generation: int
    state: int
    available: bool
    failed: bool
    declared: int | None
    measured: int | None
    charged: int
    size: int
    last_used: float
    in_flight: int
    loads: int
    evictions: int
    last_error: str
    serving_generation: int
    unverified: str = ""
    final: bool = False
    retry_at: float = 0.0
    warnings: tuple[str, ...] = ()
    transfer: Transferred | None = None
    files_here: bool = True
    found: Survey | None = None

    @property
    def misdeclared(self) -> bool:
        """Whether what was measured contradicts the manifest."""
        if self.declared is None or self.measured is None:
            return False
        return contradicts(self.measured, self.declared)


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A model in an inference server that no agent put there. ``bytes``: None when not known."""

    name: str
    state: str
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Of an agent's cache of artifacts; bytes. ``coming``: being fetched; ``firm``: of models in memory or pinned."""

    used: int
    coming: int
    firm: int
    budget: int


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What an agent last said of its inference server; bytes. ``process``, ``base``: None when not to be seen."""

    budget: int = 0
    resident: int = 0
    process: int | None = None
    base: int | None = None
    resident_models: int = 0
    state: str = "starting"
    message: str = ""
    pid: int = 0
    rest: str = ""
    grpc: str = ""
    foreign: tuple[ForeignModel, ...] = ()
    disk: DiskUsage | None = None

    @property
    def foreign_names(self) -> frozenset[str]:
        return frozenset(each.name for each in self.foreign)

    @property
    def foreign_bytes(self) -> int:
        """What foreign models are known to take of the memory that models may fill."""
        return sum(each.bytes or 0 for each in self.foreign)


@dataclass(frozen=True, slots=True)
class News:
    """What is being done so that an agent can run, as its machine says. ``failed``: it could not be done."""

    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Hello:
    """How an agent introduced itself. ``machine``: agents with the same name see the same files."""

    runtime: str
    capabilities: frozenset[str]
    memory: int
    target: str
    separate_process: frozenset[str] = frozenset()
    machine: str = ""


@dataclass(slots=True)
class Replica:
    """One server replica and its sums. ``models``: names of all that have a seat here.

    ``draining``: its Server is gone or has fewer replicas now; ``drain_until`` (Unix seconds) bounds how long
    models may take to leave. ``await_until`` (Unix seconds): its agent has not been here, but should come by then.
    ``misdeclared``: models that were measured to be of quite another size than their manifests say.
    ``pinned``: those that are never evicted, with what they take; ``crowded``: models that these leave no room.
    ``registered``: bytes of all; ``beyond``: of those that are larger than they were admitted with, by how much.
    ``asked_again``: models that must fit anew to stay, as the budget was made smaller. ``grown``: models that ask for
    more than before, and go where there is room for that; where there is none, they stay.
    ``hello`` and ``reports`` outlive the
    connection, for status and routing, and start anew with the next one. ``news``: of its environment, None when there
    is nothing to tell. ``told_failure``: of its environment, as the last event told it.
    """

    id: ReplicaId
    budget: int
    overcommit: int
    draining: bool = False
    drain_until: float = 0.0
    await_until: float = 0.0
    registered: int = 0
    beyond: dict[str, int] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    pinned: dict[str, int] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)
    connected: bool = False
    hello: Hello | None = None
    capabilities: frozenset[str] = frozenset()
    reports: dict[str, Report] = field(default_factory=dict)
    server_report: ServerReport = field(default_factory=ServerReport)
    misdeclared: set[str] = field(default_factory=set)
    asked_again: set[str] = field(default_factory=set)
    grown: set[str] = field(default_factory=set)
    news: News | None = None
    told_failure: str = ""

    @property
    def limit(self) -> int:
        return self.budget * (100 + self.overcommit) // 100
