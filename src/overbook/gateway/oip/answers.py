"""What the endpoints answer, the same for REST and gRPC. Knows models, but no transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import overbook
from overbook.gateway.oip.ports import CatalogueView, Entry, MetadataSource

SERVER_NAME: Final = "overbook"
# Loading and unloading on demand is refused, so the model repository extension is not named.
EXTENSIONS: Final[tuple[str, ...]] = ("binary_tensor_data",)
METADATA_TIMEOUT_SECONDS: Final = 10.0
# A name in a message may be as long as the message.
MAX_SHOWN: Final = 80


class Refusal(Exception):
    """Base of what a client is told instead of an answer; the message is one line for people."""


class UnknownModel(Refusal):
    """Nobody registered it: 404, NOT_FOUND."""


class BadRequest(Refusal):
    """The request can never succeed as it is: 400, INVALID_ARGUMENT."""


class NotAvailable(Refusal):
    """Registered, but it cannot be answered now; trying later may help: 503, UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class IndexItem:
    name: str
    ready: bool
    reason: str

    @property
    def state(self) -> str:
        return "READY" if self.ready else "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    reason: str


class Answers:
    """Looks at the catalogue and says what is so; never makes a model resident."""

    def __init__(self, *, catalogue: CatalogueView, metadata: MetadataSource) -> None:
        self._catalogue = catalogue
        self._metadata = metadata

    @property
    def version(self) -> str:
        return overbook.__version__

    def model(self, name: str) -> Entry:
        """Raises UnknownModel."""
        entry = self._catalogue.find(name)
        if entry is None:
            raise UnknownModel(
                f"model {name[:MAX_SHOWN]!r} is not registered; "
                "`overbook get models` lists those that are"
            )
        return entry

    def readiness(self, name: str) -> Readiness:
        """A cold model is ready: who asks it gets an answer. Raises UnknownModel."""
        entry = self.model(name)
        return Readiness(ready=entry.available, reason="" if entry.available else entry.reason)

    async def metadata(self, name: str) -> Mapping[str, object]:
        """The OIP metadata object. Raises UnknownModel, NotAvailable."""
        entry = self.model(name)
        try:
            async with asyncio.timeout(METADATA_TIMEOUT_SECONDS):
                found = await self._metadata(name)
        except TimeoutError:
            found = None
        if found is None:
            reason = entry.reason or "none of its server replicas answered; try again"
            raise NotAvailable(f"model {name!r} has no metadata now: {reason}")
        return {**found, "name": name}

    def index(self, *, ready_only: bool) -> list[IndexItem]:
        """Every registered model, sorted by name; only those that can serve when ``ready_only``."""
        items: list[IndexItem] = []
        for name in sorted(self._catalogue.models()):
            entry = self._catalogue.find(name)
            if entry is not None and (entry.available or not ready_only):
                reason = "" if entry.available else entry.reason
                items.append(IndexItem(name=name, ready=entry.available, reason=reason))
        return items

    def refuse_repository(self, verb: str, name: str) -> Refusal:
        """Why the repository calls ``load`` and ``unload`` are not obeyed."""
        try:
            self.model(name)
        except UnknownModel as unknown:
            return unknown
        command = "activate" if verb == "load" else "evict"
        return BadRequest(
            f"{verb} of model {name!r} refused: models come and go by themselves as requests "
            f"need them; to force it, use `overbook {command} {name}`"
        )
