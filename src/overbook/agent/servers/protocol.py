"""The one protocol behind which every inference server stands. Adapters implement it; the agent's actor uses it.

No policy may live here or in an adapter: no retries of loads, no eviction, no queueing. One call at a time per
model is the caller's promise; different models may be loaded and unloaded at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from overbook.agent.deaths import Calls


class ServerError(Exception):
    """Base of what an adapter raises. Catch the subclasses: they say what to do next."""


class ModelRejected(ServerError):
    """The model's files, or the server, say no: the message is the reason. The same files would be refused again.

    ``passing``: but not for that reason: it lies in the machine, the network or the server, and may be gone soon.
    """

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class ServerUnreachable(ServerError):
    """The server did not answer in time or is gone: treat everything known about its memory as void."""


class UnloadFailed(ServerError):
    """The server let go of the model, but the model's own code for that failed, or did not end: the message says how.

    Whatever that keeps is nobody's.
    """


class ServerStartFailed(ServerError):
    """The process did not become live. The message has the last lines of its log."""


class WeighingFailed(ServerError):
    """The model could not be weighed; the message says why. ``died``: its load ended the process, or did not end.
    ``raised``: its load failed, which says of the model what a load in the server would. Neither: it was not tried.

    Its size has to be learned in another way. Nothing is known against the server itself.
    """

    def __init__(self, reason: str, *, died: bool = False, raised: bool = False) -> None:
        super().__init__(reason)
        self.died = died
        self.raised = raised


class Presence(Enum):
    """What the server's index says of a model."""

    READY = "ready"
    LOADING = "loading"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model as an adapter needs it. ``artifact``: the local, checked, read-only folder of its files.

    ``version``: the folder in it that is meant, a number; empty when the adapter may choose. ``parameters``: for the
    model's own code or its server, by name and sorted; they go before what the files say.
    """

    name: str
    generation: int
    artifact: Path
    requirements: tuple[str, ...] = ()
    version: str = ""
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the data plane reaches the server: ``unix:/path``, or ``host:port`` where others started it.

    ``metrics``: where it shows what it measures; empty when that is at none of these.
    ``infer``: an endpoint for gateways that answers unary inference of both protocols over HTTP/1.1, quicker
    than the others do; empty when the server has none. A server that has one marks the answers that no model gave
    (x-overbook-unanswered).
    """

    rest: str
    grpc: str
    infer: str = ""
    metrics: str = ""


@dataclass(frozen=True, slots=True)
class Exposition:
    """What a server measures, in Prometheus' text format. ``models``: of each, where the server tells them apart.
    ``shared``: of all together, and the server itself; a label says whose. ``loaded``: the models whose series in it
    count, as they were loaded before it was asked; ``known``: all that ever were. ``dropped``: what the server left
    out, by model and reason.
    """

    models: Mapping[str, bytes] = field(default_factory=dict)
    shared: bytes = b""
    loaded: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weight:
    """Bytes that a model takes in a fresh process: what it ``kept`` after its load, and its ``peak`` meanwhile.

    ``asked``: with what it allocates at its first request.
    """

    kept: int
    peak: int
    asked: bool = False


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes of the server's process tree: proportional set size where the kernel tells, else resident size."""

    bytes: int
    processes: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """A model's configuration as its server answers it: the body over REST, the message over gRPC."""

    json: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class Description:
    """What a server says of a model that it has. ``configuration``: None where it has no such call."""

    metadata: Mapping[str, object]
    configuration: Configuration | None


# How an adapter tells of what does not keep a model from being served, but may be wrong with it, in words for people.
# No words say of a content that is new here that nothing is known against it.
Warn: TypeAlias = Callable[[PreparedModel, Iterable[str]], None]


def unheard(_model: PreparedModel, _texts: Iterable[str]) -> None:
    """A `Warn` for who has nobody to tell."""


class Lives(Protocol):
    """Is told by an adapter when what a model measures begins and ends; see `InferenceServer.metrics`."""

    def began(self, model: str, exposition: Exposition) -> None:
        """The model was loaded. What it shows already was counted before, by one of its name."""
        ...

    def ended(self, model: str, exposition: Exposition) -> None:
        """The model has left, and this is what it showed last."""
        ...


class Unkept:
    """`Lives` for who shows nobody's metrics."""

    def began(self, model: str, exposition: Exposition) -> None:
        return None

    def ended(self, model: str, exposition: Exposition) -> None:
        return None


class InferenceServer(Protocol):
    """A running (or not yet running) inference server that holds many models."""

    @property
    def addresses(self) -> Addresses:
        """Stable while the process runs, and across its restarts as far as its ports can be had again."""
        ...

    @property
    def pid(self) -> int | None: ...

    @property
    def counts_requests(self) -> bool:
        """Whether `settle` and `idle` know of all requests that come by way of a gateway."""
        ...

    async def start(self, *, timeout: float) -> None:
        """Start an empty server and return once it is live with its frameworks imported. Raises ServerStartFailed."""
        ...

    async def stop(self, *, grace: float) -> None:
        """Terminate, and kill after ``grace`` seconds. Idempotent."""
        ...

    async def close(self) -> None:
        """Stop at once and let go of ports and files. The adapter is of no use afterwards."""
        ...

    async def wait_exit(self) -> int:
        """Wait until the process ends by itself; its exit code (negative: the signal)."""
        ...

    async def live(self, *, timeout: float) -> bool: ...

    def open_calls(self) -> Calls | None:
        """What the process does with models, or did when it ended, by its own account; None where it gives none.

        At once, also while it answers nothing.
        """
        ...

    async def validate(self, model: PreparedModel) -> None:
        """Check without the server that it could be loaded (files, settings). Raises ModelRejected with one line."""
        ...

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        """Load, or reload in place: a failing reload leaves the old one serving.

        Raises ModelRejected, ServerUnreachable.
        """
        ...

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        """Unload and return when the server has let go. An unknown name is success.

        Raises ServerUnreachable, and UnloadFailed when it has let go all the same.

        ``idle``: no request is in flight there, so nothing needs to be waited for. ``measure``: say how many bytes came
        back, where the server can; None where it cannot, or where something else moved meanwhile.
        """
        ...

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        """Return when no request for the model is in flight and as many have arrived as were ``passed`` on, by gateway.

        What has not arrived after a second never will. At once where the server does not count. Raises
        ServerUnreachable.
        """
        ...

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        """Whether nothing of a model in use is in flight, as `settle` has it, as soon as that is so; False when it is
        not within ``timeout`` seconds, and at once where the server does not count. Only looks, and may be called
        beside any other call. Raises ServerUnreachable.
        """
        ...

    async def presence(self, name: str, *, timeout: float) -> Presence: ...

    async def index(self, *, timeout: float) -> Mapping[str, Presence]: ...

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        """OIP metadata of a loaded model, as its REST answer has it."""
        ...

    async def configuration(self, name: str, *, timeout: float) -> Configuration | None:
        """Of a loaded model; None where servers of this kind have no such call.

        Raises ModelRejected, ServerUnreachable.
        """
        ...

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        """OIP metadata as far as the files tell, for a model that was never loaded. Raises ModelRejected."""
        ...

    async def memory(self) -> ProcessMemory: ...

    async def model_memory(self, name: str) -> ProcessMemory | None:
        """Of one loaded model alone, where each has processes of its own; None where they share one."""
        ...

    @property
    def weighs(self) -> bool:
        """Whether `weigh` says anything, and memory is given back before a load or an unload has ended."""
        ...

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        """What the model takes in a fresh process of the same kind. None where the server does not ``weigh``.

        ``request``: a `sample`, which is asked there. Needs no running server. Raises ModelRejected, WeighingFailed.
        """
        ...

    async def sample(self, name: str) -> bytes | None:
        """The first request that a model got, as `weigh` takes it; None: there was none, or it was told before."""
        ...

    async def grown(self, name: str) -> int | None:
        """Bytes that a loaded model has allocated since its load, at its requests; None when that cannot be told."""
        ...

    async def borrowed(self) -> int:
        """Bytes that requests which are being answered may hold by now, as far as the server can tell."""
        ...

    async def metrics(self, *, timeout: float) -> Exposition | None:
        """What it measures now; None where it is not asked for that. Raises ServerUnreachable."""
        ...

    async def wait_lost(self) -> str:
        """Wait until a loaded model is gone that nobody unloaded, while the server goes on; its name.

        Its memory is back, and requests for it see that it is absent. Never returns where models share one process.
        """
        ...
