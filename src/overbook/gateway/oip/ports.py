"""What the OIP endpoints need to know about models. The gateway's catalogue implements it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol


class Entry(Protocol):
    """A registered model."""

    @property
    def available(self) -> bool:
        """A replica is assigned: a request would be served, now or after an activation."""
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


MetadataSource = Callable[[str], Awaitable[Mapping[str, object] | None]]
"""A registered model's OIP metadata, got without loading it; None when no replica can tell."""
