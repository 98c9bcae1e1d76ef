"""What the OIP endpoints need to know about models. The gateway's catalogue implements it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


class Entry(Protocol):
    """A registered model."""

    @property
    def available(self) -> bool:
        """A request would be answered, now or after an activation."""
        ...

    @property
    def reason(self) -> str:
        """Why it is not available, for people; "" when it is."""
        ...


class CatalogueView(Protocol):
    """The registered models as the gateway knows them now. Calls are cheap and never wait."""

    def models(self) -> Iterable[str]:
        """The names of all registered models, in any order."""
        ...

    def find(self, name: str) -> Entry | None: ...

    def kind(self, name: str) -> str:
        """Which kind of server has the model; "" where that is not known."""
        ...


class CallersCatalogue(CatalogueView, Protocol):
    """The same for who asks: models that they may not use are not in it."""

    def may_use(self, name: str) -> bool:
        """Whether the caller may use a model of this name, if there is one."""
        ...

    def marks(self) -> tuple[tuple[str, str], ...]:
        """Metadata by which our own listeners hear whose call it is, where they have to know."""
        ...


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where an inference server is, "unix:/path" or "host:port"."""

    rest: str
    grpc: str


class ServersView(Protocol):
    """The inference servers that models are assigned to."""

    def down(self) -> Mapping[str, str]:
        """Server replicas that can serve nothing now, by name, and why."""
        ...

    def up(self) -> Iterable[str]:
        """The names of those that can."""
        ...

    def kinds(self) -> Iterable[str]:
        """Which kinds of servers there are."""
        ...

    def addresses(self, kind: str) -> Sequence[ServerAddress]:
        """Those servers of this kind that can be asked."""
        ...

    def holding(self, model: str) -> ServerAddress | None:
        """A server that has the model in memory."""
        ...


@dataclass(frozen=True, slots=True)
class ServersConfiguration:
    """A model's configuration in its server's own answers: the body over REST, the message over gRPC."""

    json: bytes
    message: bytes


ConfigurationSource = Callable[[str], Awaitable[ServersConfiguration | None]]
"""What the server of a registered model said of its configuration; None when no replica can tell, as it was not loaded
yet."""

MetadataSource = Callable[[str], Awaitable[Mapping[str, object] | None]]
"""A registered model's OIP metadata, got without loading it; None when no replica can tell."""


class AllowedView(Protocol):
    """What Servers allow, by the words of their manifests."""

    def words(self) -> Iterable[str]:
        """All words that some Server allows."""
        ...

    def servers(self, word: str) -> Sequence[ServerAddress | None]:
        """The server replicas that allow it, always in the same order; None for each that cannot be asked now."""
        ...

    def forbidding(self, model: str, word: str) -> Sequence[str]:
        """The names of the Servers that have the model and do not allow it."""
        ...


class Residency(Protocol):
    """Models in memory because somebody says so, and not because a request needs them."""

    async def load(self, model: str) -> None:
        """Returns when it is in memory on all its replicas. Raises NotAvailable."""
        ...

    async def unload(self, model: str) -> None:
        """Returns when its memory is given back on all its replicas. Raises NotAvailable, NotAllowed."""
        ...

    def resident(
        self, model: str, *, everywhere: bool
    ) -> AbstractAsyncContextManager[Sequence[ServerAddress]]:
        """In memory for as long as the block runs, on one of its replicas or on all. Raises NotAvailable."""
        ...
