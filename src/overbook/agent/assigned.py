"""One assigned model, and the content that was registered for it. Only `assignments` and `fetches` change them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Final

from overbook.agent.facts import Facts
from overbook.agent.kinds import FILES, ArtifactKind
from overbook.agent.memory.sizes import Measurable
from overbook.agent.proven import GoodContent
from overbook.agent.servers.protocol import PreparedModel
from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact
from overbook.wire import scheduler_pb2 as pb

_NOTHING: Final = Measurable("", ArtifactKind(FILES, 0))


@dataclass(frozen=True, slots=True)
class AssignedContent:
    """What was registered: files, what was found out about them, where they came from, and the number the core knows
    it by. ``asked``: the generation of the spec that asked for it.
    """

    artifact: Artifact
    facts: Facts
    source: Asked
    prepared: PreparedModel
    asked: int

    @property
    def measurable(self) -> Measurable:
        words = " ".join(self.prepared.requirements)
        return Measurable(self.artifact.digest, self.facts.kind, words)

    @property
    def as_good(self) -> GoodContent:
        """What is to be known of it after a restart."""
        return GoodContent(
            self.source.storage_uri,
            self.source.fingerprint,
            digest=self.artifact.digest,
            bytes=self.artifact.bytes,
            kind=self.facts.kind,
            requirements=self.prepared.requirements,
            version=self.prepared.version,
            generation=self.asked,
            parameters=self.prepared.parameters,
        )

    def same(self, other: PreparedModel) -> bool:
        return self.prepared == replace(other, generation=self.prepared.generation)


@dataclass(slots=True, eq=False)
class Assignment:
    """One assigned model. ``content``: what is registered; ``current``: it is what ``spec`` asks for. ``good``: what
    was loaded last, and stands for the model until another has been loaded; its files stay as long.

    ``final``: its files were refused, and are not looked at again until something changes or a person asks. ``here``:
    they are to be on the disk, as somebody waits for them; else it may be enough to know what they are. ``passing``:
    its failure may pass without anybody doing anything. ``delay``: what its fetch waits for, which is no
    failure; "" for nothing. ``crowded``: the last try found no room on the disk. ``retry_at``: when it is tried again,
    on the agent's clock that never jumps; None while a try is under way, and where there is none to come.
    """

    spec: pb.AssignedModel
    content: AssignedContent | None = None
    good: AssignedContent | None = None
    current: bool = False
    failure: str = ""
    failures: int = 0
    final: bool = False
    here: bool = False
    delay: str = ""
    crowded: bool = False
    retry_at: float | None = None
    passing: bool = True
    waiting: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    fetch: asyncio.Task[None] | None = None

    @property
    def registered(self) -> bool:
        return self.content is not None

    @property
    def declared(self) -> int | None:
        """Bytes by the manifest."""
        return self.spec.memory_bytes if self.spec.HasField("memory_bytes") else None

    @property
    def measurable(self) -> Measurable:
        """Its content as sizes are known by; an empty one before its files are here."""
        return _NOTHING if self.content is None else self.content.measurable

    @property
    def unknown(self) -> bool:
        """Its files may be here already, but nobody has looked yet."""
        return not self.current and not self.failure

    def asked_by(self, number: int) -> int:
        """The generation of the spec that asked for the content of this number; 0 when it is not known any more."""
        known = (each for each in self.contents if each.prepared.generation == number)
        return next((each.asked for each in known), 0)

    @property
    def contents(self) -> tuple[AssignedContent, ...]:
        """All whose files are needed."""
        return tuple(each for each in (self.content, self.good) if each is not None)

    async def news(self, seconds: float) -> bool:
        """Wait for some; False when there were none in time."""
        self.changed.clear()
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True


def same_content(one: pb.AssignedModel, other: pb.AssignedModel) -> bool:
    """Whether both ask for the same files, loaded in the same way; sizes, pins and priorities are no content."""
    return (
        replace(asked_by(one), secret="") == replace(asked_by(other), secret="")
        and one.requirements == other.requirements
        and _parameters(one) == _parameters(other)
    )


def restored(name: str, good: GoodContent, artifact: Artifact) -> AssignedContent:
    """What was loaded before the agent began anew."""
    prepared = PreparedModel(
        name=name,
        generation=good.generation,
        artifact=artifact.path,
        requirements=good.requirements,
        version=good.version,
        parameters=good.parameters,
    )
    source = Asked(good.storage_uri, good.version, fingerprint=good.fingerprint)
    return AssignedContent(artifact, Facts(good.kind), source, prepared, good.generation)


def asked_by(spec: pb.AssignedModel) -> Asked:
    """The artifact that it asks for."""
    return Asked(spec.storage_uri, spec.artifact_version, spec.secret, spec.fingerprint)


def asks_for(spec: pb.AssignedModel, good: GoodContent) -> bool:
    """Whether the spec asks for these files, loaded in the same way."""
    return (
        spec.storage_uri,
        spec.fingerprint,
        spec.artifact_version,
        tuple(spec.requirements),
        _parameters(spec),
    ) == (
        good.storage_uri,
        good.fingerprint,
        good.version,
        good.requirements,
        good.parameters,
    )


def _parameters(spec: pb.AssignedModel) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(spec.parameters.items()))


def prepared_model(spec: pb.AssignedModel, artifact: Artifact) -> PreparedModel:
    return PreparedModel(
        name=spec.name,
        generation=spec.generation,
        artifact=artifact.path,
        requirements=tuple(spec.requirements),
        version=spec.artifact_version,
        parameters=_parameters(spec),
    )
