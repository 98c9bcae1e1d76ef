"""What this replica is to hold: takes assignments, brings the artifacts here, and registers them with the actor.

A model is available once its artifact is local and checked; from then on only the actor speaks of it. A fetch
that failed is tried again with backoff, and at once when the assignment changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from overbook.agent.actor import Activation, Actor
from overbook.agent.artifacts.cache import Artifact, ArtifactCache, ArtifactError
from overbook.agent.clock import Clock
from overbook.agent.notices import Notices
from overbook.agent.servers.protocol import InferenceServer, ModelRejected, PreparedModel
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName, Register
from overbook.wire import scheduler_pb2 as pb

_CONCURRENT_FETCHES: Final = 4
_RETRY_BASE: Final = 2.0
_RETRY_MAX: Final = 60.0
# Without a declared size: what an artifact becomes in memory, by experience with pickled estimators.
_SIZE_FACTOR: Final = 1.2
# A ledger entry of nothing would let any number of models in.
_SMALLEST: Final = 4096


@dataclass(slots=True)
class Assignment:
    """One assigned model. ``content`` is the generation at which its artifact last changed."""

    spec: pb.AssignedModel
    content: int
    artifact: Artifact | None = None
    registered: bool = False
    failure: str = ""
    failures: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    fetch: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """Bytes the ledger would charge: declared, else guessed from the artifact."""
        if self.spec.HasField("memory_bytes"):
            return max(_SMALLEST, self.spec.memory_bytes)
        return max(_SMALLEST, int(self.artifact.bytes * _SIZE_FACTOR) if self.artifact else 0)


class Assignments:
    """All assigned models of one replica, by name."""

    def __init__(
        self,
        *,
        actor: Actor,
        server: InferenceServer,
        cache: ArtifactCache,
        notices: Notices,
        clock: Clock,
    ) -> None:
        self._actor = actor
        self._server = server
        self._cache = cache
        self._notices = notices
        self._clock = clock
        self._assigned: dict[str, Assignment] = {}
        self._leaving: dict[str, Assignment] = {}
        self._mentioned: set[str] | None = None
        self._slots = asyncio.Semaphore(_CONCURRENT_FETCHES)
        self._tasks: asyncio.TaskGroup | None = None
        self._prune_due = False

    @property
    def assigned(self) -> Mapping[str, Assignment]:
        return self._assigned

    async def run(self) -> None:
        """Own the fetches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.get_running_loop().create_future()

    def update(self, update: pb.AssignmentUpdate) -> None:
        """The scheduler's word; see AssignmentUpdate for how a full sync is told."""
        if update.reset:
            self._mentioned = set()
        for spec in update.assigned:
            if self._mentioned is not None:
                self._mentioned.add(spec.name)
            self._assign(spec)
        for name in update.revoked:
            self._revoke(name)
        if update.complete and self._mentioned is not None:
            for name in self._assigned.keys() - self._mentioned:
                self._revoke(name)
            self._mentioned = None

    def _assign(self, spec: pb.AssignedModel) -> None:
        known = self._assigned.get(spec.name)
        if known is None:
            known = Assignment(spec, spec.generation)
            self._assigned[spec.name] = known
            self._begin_fetch(known)
            return
        before, known.spec = known.spec, spec
        if spec == before and not known.failure:
            return
        same_content = (before.storage_uri, before.fingerprint, before.artifact_version) == (
            spec.storage_uri,
            spec.fingerprint,
            spec.artifact_version,
        )
        if same_content and known.registered and not known.failure:
            self._register(known)
            return
        known.content = max(spec.generation, known.content)
        known.failures = 0
        self._begin_fetch(known)

    def _revoke(self, name: str) -> None:
        known = self._assigned.pop(name, None)
        if known is None:
            self._notices.forgotten(name)
            return
        if known.fetch is not None:
            known.fetch.cancel()
        known.changed.set()
        if known.registered:
            self._leaving[name] = known
            self._actor.remove(ModelName(name))
        else:
            self._notices.forgotten(name)
        self._prune_due = True

    def _begin_fetch(self, assignment: Assignment) -> None:
        if self._tasks is None:
            raise RuntimeError("the assignments are not running")
        if assignment.fetch is not None:
            assignment.fetch.cancel()
        assignment.failure = ""
        name = f"fetch {assignment.spec.name}"
        assignment.fetch = self._tasks.create_task(self._fetch(assignment), name=name)
        self._notices.changed(assignment.spec.name)

    async def _fetch(self, assignment: Assignment) -> None:
        while True:
            spec = assignment.spec
            try:
                async with self._slots:
                    artifact = await self._cache.fetch(spec.storage_uri, spec.fingerprint)
                    self._server.validate(_prepared(assignment, artifact))
            except (ArtifactError, ModelRejected) as error:
                assignment.failures += 1
                assignment.failure = str(error)
                assignment.changed.set()
                self._notices.artifact_failed(spec.name, str(error))
                backoff = _RETRY_BASE * 2.0 ** min(10, assignment.failures - 1)
                await asyncio.sleep(min(_RETRY_MAX, backoff))
                continue
            assignment.failures, assignment.failure = 0, ""
            assignment.artifact = artifact
            self._register(assignment)
            return

    def _register(self, assignment: Assignment) -> None:
        if assignment.artifact is None:
            return
        spec, name = assignment.spec, ModelName(assignment.spec.name)
        assignment.registered = True
        self._leaving.pop(name, None)
        entry = self._actor.entries.get(name)
        if entry is not None:
            # The scheduler may have been restored from an older store: content never goes back here.
            assignment.content = max(assignment.content, entry.generation)
        self._actor.assign(
            _prepared(assignment, assignment.artifact),
            Register(
                model=name,
                size=assignment.size,
                generation=assignment.content,
                pinned=spec.pinned,
                priority=spec.priority,
            ),
        )
        assignment.changed.set()
        self._notices.changed(name)

    async def prune(self) -> None:
        """Drop the files of models that left; called now and then, never while a request waits for it."""
        if not self._prune_due:
            return
        self._prune_due = False
        keep = {
            assignment.artifact.digest
            for assignment in (*self._assigned.values(), *self._leaving.values())
            if assignment.artifact is not None
        }
        await self._cache.prune(keep)

    def left(self, name: str) -> None:
        """The actor forgot the model: its files may go."""
        self._leaving.pop(name, None)
        self._prune_due = True

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation:
        """Wait for the artifact, then for the model to be resident; ``timeout`` in seconds for both."""
        began = self._clock.now()
        while True:
            assignment = self._assigned.get(model)
            if assignment is None:
                reason = f"model '{model}' is not assigned to this server replica"
                return Activation(Refusal.UNKNOWN, reason)
            left = timeout - (self._clock.now() - began)
            if assignment.registered:
                return await self._actor.activate(model, timeout=left, suspect=suspect)
            if assignment.failure:
                return Activation(Refusal.LOAD_FAILED, assignment.failure, _RETRY_BASE)
            assignment.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await assignment.changed.wait()
            except TimeoutError:
                reason = f"the artifact of model '{model}' did not arrive within {timeout:.0f} s"
                return Activation(Refusal.DEADLINE, reason, 1.0, waited=timeout)

    async def metadata(self, model: ModelName) -> Mapping[str, object] | None:
        return await self._actor.metadata(model)


def _prepared(assignment: Assignment, artifact: Artifact) -> PreparedModel:
    spec = assignment.spec
    return PreparedModel(
        name=spec.name,
        generation=assignment.content,
        artifact=artifact.path,
        requirements=tuple(spec.requirements),
    )
