"""What this replica is to hold: takes assignments, has the artifacts brought here, and registers them with the actor.

A model is available once its artifact is local and checked; from then on only the actor speaks of it. What was
registered before goes on serving while files are on their way (`fetches`).

The core tells contents apart by numbers that never fall. They are given here, when the files are known: normally
the generation of the spec, but a scheduler may begin to count anew while we still hold an older content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Final, Protocol

from overbook.agent.activation import Activation
from overbook.agent.actor import Actor
from overbook.agent.another_try import AnotherTry
from overbook.agent.assigned import (
    AssignedContent,
    Assignment,
    asked_by,
    asks_for,
    restored,
    same_content,
)
from overbook.agent.clock import Clock
from overbook.agent.fetches import Fetches, FetchPorts, Looks
from overbook.agent.files import Cache
from overbook.agent.memory.sizes import Sizes
from overbook.agent.notices import Notices
from overbook.agent.proven import Proven
from overbook.agent.servers.protocol import Configuration, InferenceServer, PreparedModel
from overbook.agent.sizing import Sizing
from overbook.agent.uses import places
from overbook.agent.waiting import WaitingRequests
from overbook.artifacts.address import Asked
from overbook.artifacts.transfer import Transferred
from overbook.residency.events import ModelName
from overbook.wire import scheduler_pb2 as pb

# Seconds for which somebody who asks for metadata waits for files that left the disk.
_FOR_METADATA: Final = 30.0


class Weighing(Protocol):
    """Who has contents weighed: `memory.weigher.Weigher`."""

    @property
    def under_way(self) -> Set[str]: ...

    def want(self, model: PreparedModel) -> None: ...

    def keep_only(self, digests: set[str]) -> None: ...


class Verifying(Protocol):
    """Who knows whether contents can be loaded: `verifier.Verifier`."""

    def register(self, model: PreparedModel, *, wanted: bool) -> None: ...

    def forget(self, model: str) -> None: ...

    def loaded(self, model: PreparedModel) -> None: ...


class Assignments:
    """All assigned models of one replica, by name. ``sizing``: what they are charged."""

    def __init__(
        self,
        *,
        actor: Actor,
        server: InferenceServer,
        cache: Cache,
        looks: Looks,
        notices: Notices,
        clock: Clock,
        sizes: Sizes,
        sizing: Sizing,
        weigher: Weighing,
        proven: Proven,
        verifier: Verifying,
    ) -> None:
        self._weigher = weigher
        self.sizing = sizing
        self._proven = proven
        self._verifier = verifier
        self._actor = actor
        self._cache = cache
        self._notices = notices
        self._clock = clock
        self._assigned: dict[str, Assignment] = {}
        self._leaving: dict[str, Assignment] = {}
        self._mentioned: set[str] | None = None
        self._fetches = Fetches(
            FetchPorts(
                cache=cache,
                server=server,
                sizes=sizes,
                notices=notices,
                looks=looks,
                begins=self._restore,
                arrived=self._arrived,
            )
        )
        self._requests = WaitingRequests(self._assigned, actor, cache, self._fetches, clock)
        self.another_try = AnotherTry(self._assigned, self._fetches)
        self._synced = False
        self._kept: set[str] | None = None
        self._prune_due = True  # models may have left while this agent was not running

    @property
    def assigned(self) -> Mapping[str, Assignment]:
        return self._assigned

    @property
    def known(self) -> Iterable[Assignment]:
        """Those that are assigned, and those that are leaving."""
        return (*self._assigned.values(), *self._leaving.values())

    async def run(self) -> None:
        """Own the fetches until cancelled."""
        await self._fetches.run()

    # -- the scheduler's word

    def update(self, update: pb.AssignmentUpdate) -> None:
        """See AssignmentUpdate for how a full sync is told. One that broke off is forgotten with the next reset."""
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
            self._synced = True

    def _assign(self, spec: pb.AssignedModel) -> None:
        known = self._assigned.get(spec.name)
        if known is None:
            known = Assignment(spec)
            self._assigned[spec.name] = known
            self._fetches.begin(known)
            return
        before, known.spec = known.spec, spec
        if not same_content(before, spec):
            known.current = False
            self._fetches.begin(known)
            return
        if spec != before and known.content is not None:
            self._register(known, known.content)
        if known.failure and (spec != before or not known.final):
            self._fetches.begin(known)

    def _revoke(self, name: str) -> None:
        known = self._assigned.pop(name, None)
        if known is not None:
            if known.fetch is not None:
                known.fetch.cancel()
            known.changed.set()
            self._proven.forget(name)
            self._verifier.forget(name)
            if known.content is not None:
                self.sizing.forget(known.content, self._assigned)
                self._leaving[name] = known
                self._actor.remove(ModelName(name))
                return
        if name not in self._leaving:
            self._notices.forgotten(name)
            self.left(name)

    def left(self, name: str) -> None:
        """The actor forgot the model: its files may go."""
        self._leaving.pop(name, None)
        self._files_changed()
        if name in self._assigned:
            self._notices.changed(name)  # assigned again before it had left

    # -- artifacts

    def _arrived(self, assignment: Assignment, content: AssignedContent) -> None:
        """Its files are here, and are what it asks for."""
        assignment.current = True
        self._register(assignment, content)

    def _restore(self, assignment: Assignment) -> None:
        """Before this agent began, another content was loaded last: it stands for the model until the one that is
        asked for now has been loaded.
        """
        spec = assignment.spec
        good = None if assignment.registered else self._proven.good(spec.name)
        if good is None or asks_for(spec, good):
            return
        artifact = self._cache.held(good.digest, good.bytes)
        if artifact is not None:
            self._register(assignment, restored(spec.name, good, artifact))

    def loaded(self, prepared: PreparedModel) -> None:
        """The actor loaded it: now it is what stands for the model, and older files may go."""
        self._verifier.loaded(prepared)
        known = self._assigned.get(prepared.name)
        content = None if known is None else known.content
        if known is None or content is None or known.good is content:
            return
        if content.prepared.generation == prepared.generation:
            known.good = content
            self._proven.loaded(prepared.name, content.as_good)
            self._files_changed()

    def _register(self, assignment: Assignment, content: AssignedContent) -> None:
        spec, name = assignment.spec, ModelName(assignment.spec.name)
        before = assignment if assignment.registered else self._leaving.pop(name, None)
        number = self._number(spec, content, None if before is None else before.content)
        content = replace(content, prepared=replace(content.prepared, generation=number))
        assignment.content = content
        self.sizing.introduce(assignment)
        # Files that left come back for requests, and not for the sake of memory that is free.
        warm = self._cache.is_here(content.artifact.digest)
        register = replace(self.sizing.registration(assignment), warm=warm)
        if self._proven.good(name) == content.as_good:
            assignment.good = assignment.good or content
            register = replace(register, proven=True)
        entry = self._actor.entries.get(name)
        if entry is not None and entry.generation != number:
            self._notices.forgiven(name)
        self._actor.assign(content.prepared, register)
        self._verifier.register(content.prepared, wanted=not spec.take_unverified)
        self._weigher.want(content.prepared)
        self._files_changed()
        assignment.changed.set()
        self._notices.changed(name)

    def remember(self) -> None:
        """Keep, for after a restart, what eviction goes by; called now and then and at the end."""
        self.sizing.remember(
            (known, entry)
            for name, known in self._assigned.items()
            if (entry := self._actor.entries.get(ModelName(name))) is not None
        )

    # -- sizes

    def size_of(self, prepared: PreparedModel) -> int:
        """Bytes to charge for what was loaded, which may be older than what is assigned now."""
        known = self._assigned.get(prepared.name) or self._leaving.get(prepared.name)
        return self.sizing.charge_for(prepared, known)

    def size_changed(self, digest: str) -> None:
        """What was measured of one model holds for all that have the same files."""
        for name in self.sizing.with_files(digest):
            known = self._assigned.get(name)
            if known is None or known.content is None or known.measurable.digest != digest:
                continue
            self._notices.measured(name, self.sizing.measured(known), known.declared)
            entry = self._actor.entries.get(ModelName(name))
            if entry is not None and self.sizing.differs(known, entry):
                # Nothing was wished: a model that is cold stays cold.
                self._actor.resize(replace(self.sizing.registration(known), warm=False))
        self._actor.residents.catch_up()

    def _number(
        self, spec: pb.AssignedModel, content: AssignedContent, before: AssignedContent | None
    ) -> int:
        """The number of the content for the core. A new one makes it load anew, and forget that it failed."""
        entry = self._actor.entries.get(ModelName(spec.name))
        if entry is None:
            return spec.generation
        if before is not None and before.same(content.prepared) and not entry.failures:
            return entry.generation
        return max(spec.generation, entry.generation + 1)

    async def repair(self, prepared: PreparedModel) -> PreparedModel | None:
        """Check the local copy of a model that would not load; one that is damaged is fetched again.

        None when it is as it was published, or no longer wanted. Raises ArtifactError.
        """
        places = (self._assigned.get(prepared.name), self._leaving.get(prepared.name))
        for known, content in ((each, part) for each in places if each for part in each.contents):
            if content.artifact.path != prepared.artifact:
                continue
            if self._cache.is_here(content.artifact.digest):
                if await self._cache.verify(content.artifact.digest):
                    return None
                self._notices.artifact_damaged(prepared.name, str(content.artifact.path))
            async with self._cache.fetched(content.source) as artifact:
                pass
            repaired = replace(prepared, artifact=artifact.path)
            new = replace(content, artifact=artifact, prepared=repaired)
            known.good = new if known.good is content else known.good
            known.content = new if known.content is content else known.content
            return repaired
        return None

    def _files_changed(self) -> None:
        self._prune_due, self._kept = True, None

    async def prune(self) -> None:
        """Drop the files of models that left; called now and then, never while a request waits for it."""
        unknown = any(each.unknown for each in self._assigned.values())
        if unknown or not (self._prune_due and self._synced):
            return
        wanted = {
            content.artifact.digest for assignment in self.known for content in assignment.contents
        }
        # Also of those that were refused: what they are refused for may be allowed again.
        known = (self._cache.known(asked_by(each.spec)) for each in self._assigned.values())
        wanted |= {each.digest for each in known if each is not None}
        in_use = {folder.name for folder in self._actor.files_in_use} | self._weigher.under_way
        keep = wanted | in_use
        # What is still in use, and not wanted any more, goes later.
        self._prune_due = keep != wanted
        if keep != self._kept:
            self._kept = keep
            await self._cache.prune(keep)
            await self._cache.drop_parts(lambda: places(self._assigned.values()))
            self.sizing.keep_only(keep)
            self._weigher.keep_only(keep)

    # -- files

    def source_of(self, prepared: PreparedModel) -> Asked | None:
        """Where a content came from; None when it is not wanted any more."""
        for known in (self._assigned.get(prepared.name), self._leaving.get(prepared.name)):
            for content in () if known is None else known.contents:
                if content.artifact.path == prepared.artifact:
                    return content.source
        return None

    def transferred(self, assignment: Assignment) -> Transferred | None:
        """How far the fetch of its files is; None while there is none."""
        return self._cache.transferred(asked_by(assignment.spec))

    def is_here(self, assignment: Assignment) -> bool:
        """Whether its files are on the disk."""
        return assignment.content is not None and self._cache.is_here(
            assignment.content.artifact.digest
        )

    # -- requests

    def try_again(self, model: ModelName) -> None:
        """A person wants a model that failed to be tried now, whatever was said against its files."""
        assignment = self._assigned.get(model)
        if assignment is None:
            return
        if assignment.failure:
            self._fetches.begin(assignment, here=True)
        self._actor.try_again(model)

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation:
        """See `waiting`."""
        return await self._requests.activate(model, timeout=timeout, suspect=suspect)

    async def metadata(self, model: ModelName) -> Mapping[str, object] | None:
        """OIP metadata without loading; files that left the disk come back for it, unless the server told it before."""
        await self._requests.wait_for_files(model, _FOR_METADATA)
        return await self._actor.metadata(model)

    def configuration(self, model: ModelName) -> Configuration | None:
        return self._actor.configuration(model)
