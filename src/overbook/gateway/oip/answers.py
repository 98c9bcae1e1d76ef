"""What the endpoints answer, the same for REST and gRPC. Knows models, but no transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import overbook
from overbook.gateway.oip.errors import (
    NoAnswer,
    NoSuchCall,
    NotAllowed,
    NotAvailable,
    UnknownModel,
    UnknownRegion,
)
from overbook.gateway.oip.ports import (
    AllowedView,
    CallersCatalogue,
    Entry,
    MetadataSource,
    ServersView,
)
from overbook.gateway.oip.surface import TRITON, Call, Way, how_to_allow
from overbook.runtimes.server_kinds import LOG, REPOSITORY, SHARED_MEMORY, TRACE
from overbook.wire.limits import MAX_SHOWN

SERVER_NAME: Final = "overbook"
# By kind of server, in Triton's words. What has to be allowed is named where some Server allows it.
_EXTENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    TRITON: (
        *("classification", "sequence", "schedule_policy", "model_configuration"),
        *("binary_tensor_data", "parameters", "statistics"),
    )
}
_OF_ALL: Final = ("binary_tensor_data",)
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    REPOSITORY: ("model_repository", "model_repository(unload_dependents)"),
    SHARED_MEMORY: ("system_shared_memory", "cuda_shared_memory"),
    TRACE: ("trace",),
    LOG: ("logging",),
}
METADATA_TIMEOUT_SECONDS: Final = 10.0


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


@dataclass(frozen=True, slots=True)
class ServersReadiness:
    """``down``: server replicas that cannot serve, by name, and why; there may be some although it is ``ready``."""

    ready: bool
    down: Mapping[str, str]


class Answers:
    """Looks at the catalogue and says what is so; never makes a model resident."""

    def __init__(
        self,
        *,
        catalogue: CallersCatalogue,
        metadata: MetadataSource,
        servers: ServersView,
        allowed: AllowedView,
    ) -> None:
        self._catalogue = catalogue
        self._metadata = metadata
        self._servers = servers
        self._allowed = allowed
        self._leaving = False

    def leave(self) -> None:
        """Say that nobody should send requests here any more."""
        self._leaving = True

    @property
    def version(self) -> str:
        return overbook.__version__

    @property
    def extensions(self) -> list[str]:
        """Of the protocol: what one of the servers understands and the gateway passes on."""
        words = set(self._allowed.words())
        found = (
            *(_EXTENSIONS.get(kind, ()) for kind in sorted(self._servers.kinds())),
            _OF_ALL,
            *(names for word, names in _ALLOWED.items() if word in words),
        )
        return list(dict.fromkeys(each for these in found for each in these))

    def marks(self) -> tuple[tuple[str, str], ...]:
        """What tells our own listeners whose call it is that is passed on, where they have to know."""
        return self._catalogue.marks()

    def kind(self, name: str) -> str:
        """Which kind of server has the model; "" where that is not known."""
        return self._catalogue.kind(name)

    def knows(self, name: str) -> bool:
        """Whether the model is registered."""
        return self._catalogue.find(name) is not None

    def model(self, name: str) -> Entry:
        """Raises UnknownModel."""
        entry = self._catalogue.find(name)
        if entry is None:
            raise _unknown(name)
        return entry

    def still_granted(self, name: str) -> None:
        """Raises UnknownModel where the caller may not use the model any more."""
        if not self._catalogue.may_use(name):
            raise _unknown(name)

    def servers(self) -> ServersReadiness:
        """Ready when one of the server replicas that models are assigned to can serve, or none is needed; no more once
        the gateway leaves.
        """
        if self._leaving:
            return ServersReadiness(ready=False, down={"gateway": "it is stopping"})
        down = self._servers.down()
        return ServersReadiness(ready=any(True for _ in self._servers.up()) or not down, down=down)

    async def readiness(self, name: str, version: str = "") -> Readiness:
        """A cold model is ready: who asks it gets an answer. Raises UnknownModel, and NotAvailable when nobody can
        tell whether it has that version.
        """
        entry = self.model(name)
        if version and entry.available:
            await self.metadata(name, version)
        return Readiness(ready=entry.available, reason="" if entry.available else entry.reason)

    async def metadata(self, name: str, version: str = "") -> Mapping[str, object]:
        """The OIP metadata object, of that version where one is named. Raises UnknownModel, NotAvailable."""
        entry = self.model(name)
        try:
            async with asyncio.timeout(METADATA_TIMEOUT_SECONDS):
                found = await self._metadata(name)
        except TimeoutError:
            found = None
        if found is None:
            reason = entry.reason or "none of its server replicas answered; try again"
            raise NotAvailable(f"model {name!r} has no metadata now: {reason}")
        if version:
            _check_version(name, version, found.get("versions"))
        return {**found, "name": name}

    async def versions(self, name: str) -> list[str]:
        """The versions of the model, one without a name where it has none. Raises UnknownModel, NotAvailable."""
        found = (await self.metadata(name)).get("versions")
        return [str(each) for each in found] if isinstance(found, list) and found else [""]

    def index(self, *, ready_only: bool) -> list[IndexItem]:
        """Every registered model, sorted by name; only those that can serve when ``ready_only``."""
        items: list[IndexItem] = []
        for name in sorted(self._catalogue.models()):
            entry = self._catalogue.find(name)
            if entry is not None and (entry.available or not ready_only):
                reason = "" if entry.available else entry.reason
                items.append(IndexItem(name=name, ready=entry.available, reason=reason))
        return items

    def refuse_repository(self, verb: str, name: str) -> NoAnswer:
        """Why the repository calls ``load`` and ``unload`` are not obeyed."""
        try:
            self.model(name)
        except UnknownModel as unknown:
            return unknown
        command = "activate" if verb == "load" else "evict"
        return NotAllowed(
            f"{verb} of model {name!r} refused: models come and go by themselves as requests "
            f"need them; to force it, use `overbook {command} {name}`; {how_to_allow(REPOSITORY)}"
        )

    def refuse(self, call: Call, name: str = "") -> NoAnswer:
        """Why a call is not obeyed that touches the machine of a server. ``name``: the model that it is about."""
        kind = ""
        if name:
            try:
                self.model(name)
            except UnknownModel as unknown:
                return unknown
            kind = self.kind(name)
        if kind and call.way(kind) is Way.ABSENT:
            return NoSuchCall(f"model {name!r} is on a server that has no such call")
        return NotAllowed(f"{call.path.rpartition('Service/')[2]} refused: {call.remark}")

    def region(self, name: str, kind: str) -> None:
        """Raises UnknownRegion where a region of shared memory is named although nobody can register one."""
        if name:
            raise UnknownRegion(f"Unable to find {kind} shared memory region: '{name[:MAX_SHOWN]}'")


def _unknown(name: str) -> UnknownModel:
    return UnknownModel(
        f"model {name[:MAX_SHOWN]!r} is not registered; `overbook get models` lists those that are"
    )


def _check_version(name: str, version: str, known: object) -> None:
    """Raises UnknownModel."""
    versions = [str(each) for each in known] if isinstance(known, list | tuple) else []
    if version not in versions:
        has = f"it has {', '.join(versions)}" if versions else "it has no versions; leave it out"
        raise UnknownModel(
            f"model {name[:MAX_SHOWN]!r} has no version {version[:MAX_SHOWN]!r}; {has}"
        )
