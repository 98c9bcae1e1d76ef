"""A catalogue for tests: what is registered, allowed and in memory is what the test says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import NoAnswer, NotAvailable
from overbook.gateway.oip.ports import ServerAddress, ServersConfiguration


@dataclass(frozen=True, slots=True)
class FakeEntry:
    available: bool = True
    reason: str = ""


@dataclass(slots=True)
class FakeCatalogue:
    """``revoked``: models that callers may not use any more. ``asked``: the names whose metadata was asked for.
    ``stopped``: server replicas that cannot serve, and why.
    ``kind_of``: the kind of server of each model. ``servers``: all that can be asked; ``held``: who has which model in
    memory.
    """

    entries: dict[str, FakeEntry] = field(default_factory=dict)
    metadata_of: dict[str, Mapping[str, object]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    kind_of: dict[str, str] = field(default_factory=dict)
    servers: list[ServerAddress] = field(default_factory=list)
    held: dict[str, ServerAddress] = field(default_factory=dict)
    configuration_of: dict[str, ServersConfiguration] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    unloadable: dict[str, str] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    marked: tuple[tuple[str, str], ...] = ()

    def models(self) -> Iterable[str]:
        return self.entries

    def find(self, name: str) -> FakeEntry | None:
        return self.entries.get(name)

    def may_use(self, name: str) -> bool:
        return name not in self.revoked

    def marks(self) -> tuple[tuple[str, str], ...]:
        return self.marked

    def kind(self, name: str) -> str:
        return self.kind_of.get(name, "")

    def kinds(self) -> Iterable[str]:
        return set(self.kind_of.values())

    def addresses(self, kind: str) -> Sequence[ServerAddress]:
        return self.servers

    def holding(self, model: str) -> ServerAddress | None:
        return self.held.get(model)

    def down(self) -> Mapping[str, str]:
        return self.stopped

    def up(self) -> Iterable[str]:
        return self.started

    async def metadata(self, name: str) -> Mapping[str, object] | None:
        self.asked.append(name)
        return self.metadata_of.get(name)

    async def configuration(self, name: str) -> ServersConfiguration | None:
        return self.configuration_of.get(name)

    async def load(self, name: str) -> None:
        """Its server says what it makes of it."""
        self.loaded.append(name)
        if name in self.unloadable:
            raise NotAvailable(self.unloadable[name])
        self.configuration_of[name] = ServersConfiguration(
            b'{"name":"%b"}' % name.encode(), name.encode()
        )


@dataclass(slots=True)
class FakeAllowed:
    """``allowing``: servers by what they allow. ``forbids``: the Servers of a model that do not, by model and word."""

    allowing: dict[str, list[ServerAddress | None]] = field(default_factory=dict)
    forbids: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def words(self) -> Iterable[str]:
        return self.allowing

    def servers(self, word: str) -> Sequence[ServerAddress | None]:
        return self.allowing.get(word, [])

    def forbidding(self, model: str, word: str) -> Sequence[str]:
        return self.forbids.get((model, word), [])


@dataclass(slots=True)
class FakeResidency:
    """``where``: the servers that get a model. ``refusal``: raised instead. ``calls``: what was asked for."""

    where: list[ServerAddress] = field(default_factory=list)
    refusal: NoAnswer | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    async def load(self, model: str) -> None:
        self._called("load", model)

    async def unload(self, model: str) -> None:
        self._called("unload", model)

    @contextlib.asynccontextmanager
    async def resident(
        self, model: str, *, everywhere: bool
    ) -> AsyncIterator[Sequence[ServerAddress]]:
        self._called("everywhere" if everywhere else "somewhere", model)
        self.held.add(model)
        yield self.where if everywhere else self.where[:1]
        self.held.discard(model)

    def _called(self, what: str, model: str) -> None:
        self.calls.append((what, model))
        if self.refusal is not None:
            raise self.refusal


def answers_of(catalogue: FakeCatalogue, allowed: FakeAllowed | None = None) -> Answers:
    """All that is known is of the catalogue; nothing is allowed unless it is said."""
    return Answers(
        catalogue=catalogue,
        metadata=catalogue.metadata,
        servers=catalogue,
        allowed=allowed or FakeAllowed(),
    )


def example() -> FakeCatalogue:
    """Two models that can serve, one that was not placed."""
    return FakeCatalogue(
        entries={
            "wine": FakeEntry(),
            "iris": FakeEntry(),
            "huge": FakeEntry(available=False, reason="needs 9 GiB, the largest budget is 2 GiB"),
        },
        metadata_of={
            "iris": {
                "name": "ignored",
                "versions": ["1"],
                "platform": "sklearn",
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
                "outputs": [],
            }
        },
    )
