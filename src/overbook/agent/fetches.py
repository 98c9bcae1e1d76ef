"""Brings the files of assignments here and looks what they are, and tries again with backoff where that fails.

Files that were fetched and then refused are not looked at again before the assignment changes, or a person asks: they
are the same files. Files that left the disk need not come back before somebody wants them: what is known of them is
enough. What is done with what arrived is `assignments`' to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from overbook.agent.assigned import AssignedContent, Assignment, asked_by, prepared_model
from overbook.agent.facts import Facts, facts_in
from overbook.agent.files import Cache
from overbook.agent.kinds import ArtifactKind
from overbook.agent.looking import failing_alone, told
from overbook.agent.memory.sizes import Sizes
from overbook.agent.notices import Notices
from overbook.agent.reasons import is_lasting
from overbook.agent.servers.protocol import InferenceServer, ModelRejected, PreparedModel
from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact
from overbook.artifacts.errors import (
    LONGEST_RETRY_AFTER,
    ArtifactError,
    Postponed,
    SourceError,
    Trouble,
)
from overbook.manifests.problems import shown
from overbook.wire import scheduler_pb2 as pb

# How many of one source's may be looked at, or wait for their turn there, at the same time: it is asked for many
# together.
_CONCURRENT: Final = 256
# Seconds.
RETRY_BASE: Final = 2.0
_RETRY_MAX: Final = 60.0
# For what somebody has to put right: it may have been.
_RETRY_SELDOM: Final = 300.0
_PROGRESS: Final = 1.0
# Of a source: these stay as they are until a manifest changes.
_FINAL: Final = frozenset({Trouble.BAD_ADDRESS, Trouble.REFUSED, Trouble.NOT_INSTALLED})


@dataclass(frozen=True, slots=True)
class Looks:
    """What is asked of files that are here. ``refuse``: raises ArtifactError for what may not be loaded here, such as
    pickles; None where everything may.
    """

    kind: Callable[[Path], Awaitable[ArtifactKind]]
    sequence_idle: Callable[[Path], Awaitable[float]]
    made_for: Callable[[Path], Awaitable[str]]
    callees: Callable[[Path], Awaitable[tuple[str, ...]]]
    refuse: Callable[[Path], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class FetchPorts:
    """``begins``, ``arrived``: are told of each fetch that begins, and that ended well."""

    cache: Cache
    server: InferenceServer
    sizes: Sizes
    notices: Notices
    looks: Looks
    begins: Callable[[Assignment], None]
    arrived: Callable[[Assignment, AssignedContent], None]


class Fetches:
    """Of one server replica; `run` owns them. At most one for each assignment: a new one takes the place of the old."""

    def __init__(self, ports: FetchPorts) -> None:
        self._ports = ports
        self._places: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = (
            WeakValueDictionary()
        )
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.get_running_loop().create_future()

    def begin(self, assignment: Assignment, *, here: bool = False) -> None:
        """Also anew, whatever was said against its files. ``here``: they have to be on the disk."""
        if self._tasks is None:
            raise RuntimeError("the assignments are not running")
        if assignment.fetch is not None:
            assignment.fetch.cancel()
        assignment.failure, assignment.failures, assignment.final = "", 0, False
        assignment.delay, assignment.retry_at = "", None
        assignment.here = here
        name = f"fetch {assignment.spec.name}"
        assignment.fetch = self._tasks.create_task(self._fetch(assignment), name=name)
        self._ports.notices.changed(assignment.spec.name)

    async def _fetch(self, assignment: Assignment) -> None:
        self._ports.begins(assignment)
        tick = self._progress(assignment)
        while True:
            # Its secret may have become another meanwhile.
            spec = assignment.spec
            try:
                async with self._place_at(asked_by(spec)), _Ticking(tick):
                    with failing_alone(spec.name, f"its artifact {shown(spec.storage_uri)}"):
                        content = await self._look(assignment)
            except Postponed as error:
                assignment.crowded = error.trouble is Trouble.NO_SPACE
                self._delayed(assignment, told(str(error)))
                await self._pause(assignment, RETRY_BASE)
                continue
            except (ArtifactError, ModelRejected) as error:
                # Without a fingerprint the address may lead to other files at the next try.
                final = _is_final(error) and bool(spec.fingerprint)
                assignment.passing = not final and _passes(error)
                assignment.crowded = (
                    isinstance(error, SourceError) and error.trouble is Trouble.NO_SPACE
                )
                assignment.failures += 1
                pause = None if final else _pause_after(error, assignment.failures)
                self._failed(assignment, told(str(error)), pause)
                if pause is None:
                    return
                await self._pause(assignment, pause)
                continue
            if assignment.fetch is asyncio.current_task():
                assignment.fetch = None
                assignment.failures, assignment.failure, assignment.final = 0, "", False
                assignment.delay = ""
                self._ports.arrived(assignment, content)
            return

    def _place_at(self, asked: Asked) -> asyncio.Semaphore:
        """Sources have theirs apart: one that answers nobody is waited for by its own models alone."""
        fresh = asyncio.Semaphore(_CONCURRENT)
        return self._places.setdefault(asked.source, fresh)

    def _delayed(self, assignment: Assignment, reason: str) -> None:
        if not assignment.delay:
            self._ports.notices.changed(assignment.spec.name)
        assignment.delay = reason

    async def _pause(self, assignment: Assignment, seconds: float) -> None:
        """Until the next try, which people are told of."""
        mine = asyncio.current_task()
        assignment.retry_at = asyncio.get_running_loop().time() + seconds
        self._ports.notices.changed(assignment.spec.name)
        try:
            await asyncio.sleep(seconds)
        finally:
            # Cancelled, it is another fetch's by now.
            if assignment.fetch is mine:
                assignment.retry_at = None

    def _failed(self, assignment: Assignment, reason: str, pause: float | None) -> None:
        """``pause``: seconds until the next try; None where there is none."""
        assignment.final = pause is None
        assignment.delay = ""
        if assignment.final and assignment.fetch is asyncio.current_task():
            assignment.fetch = None
        if assignment.failure != reason:
            assignment.failure = reason
            self._ports.notices.artifact_failed(assignment.spec.name, reason)
        assignment.changed.set()

    def _progress(self, assignment: Assignment) -> Callable[[], None]:
        """To be called now and then: whoever follows the model is told that its fetch has begun, and how far it is."""
        cache, notices = self._ports.cache, self._ports.notices
        told = (0, 0)
        begun = False

        def tick() -> None:
            nonlocal told, begun
            spec = assignment.spec
            at = cache.transferred(asked_by(spec))
            if at is not None and at.done and not begun:
                begun = True
                notices.artifact_fetching(spec.name, spec.storage_uri, at.total)
            # Of many that wait for their turn at a source nothing comes for long.
            if at is not None and (at.done, round(at.rate)) != told:
                told = (at.done, round(at.rate))
                notices.changed(spec.name)

        return tick

    async def _look(self, assignment: Assignment) -> AssignedContent:
        """Bring the files here and see what they are. Raises ArtifactError, ModelRejected, and whatever files bring."""
        spec, cache = assignment.spec, self._ports.cache
        asked = asked_by(spec)
        known = cache.known(asked)
        facts = None if known is None else facts_in(known.facts)
        if (
            known is not None
            and facts is not None
            and not (assignment.here or spec.pinned or self._must_look(facts))
            and not cache.is_here(known.digest)
        ):
            return _content(spec, cache.artifact(known, asked.fingerprint), facts)
        async with cache.fetched(asked, lambda: _is_urgent(assignment)) as artifact:
            other = known is not None and known.digest != artifact.digest
            if other and artifact.fingerprint not in ("", asked.fingerprint):
                self._ports.notices.artifact_changed(spec.name, spec.storage_uri)
            if artifact.brought is not None:
                self._ports.notices.artifact_fetched(spec.name, spec.storage_uri, artifact.brought)
            prepared = prepared_model(spec, artifact)
            await self._ports.server.validate(prepared)
            facts = await self._facts(prepared)
        cache.note(artifact.digest, facts.text)
        return _content(spec, artifact, facts)

    def _must_look(self, facts: Facts) -> bool:
        """Whether the files may be such as are refused here, for all that is known."""
        return self._ports.looks.refuse is not None and facts.pickled is not False

    async def _facts(self, prepared: PreparedModel) -> Facts:
        looks, folder = self._ports.looks, prepared.artifact
        if looks.refuse is not None:
            await looks.refuse(folder)
        return Facts(
            kind=await self._kind(prepared),
            sequence_idle=await looks.sequence_idle(folder),
            made_for=await looks.made_for(folder),
            callees=await looks.callees(folder),
            pickled=None if looks.refuse is None else False,
        )

    async def _kind(self, prepared: PreparedModel) -> ArtifactKind:
        """Only who has to guess has to look."""
        known = self._ports.sizes.evidence(prepared.artifact.name)
        if known is not None:
            return known.kind
        folder = prepared.artifact / prepared.version if prepared.version else prepared.artifact
        return await self._ports.looks.kind(folder)


class _Ticking:
    """Calls ``tick`` now and then while the block runs."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        self._later()

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._tick()

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS, self._again)

    def _again(self) -> None:
        self._tick()
        self._later()


def _content(spec: pb.AssignedModel, artifact: Artifact, facts: Facts) -> AssignedContent:
    asked = asked_by(spec)
    return AssignedContent(
        replace(artifact, fingerprint=asked.fingerprint),
        facts,
        asked,
        prepared_model(spec, artifact),
        spec.generation,
    )


def _is_urgent(assignment: Assignment) -> bool:
    """Whether somebody needs its files now: requests, or who waits for the model to be ready, or for its change."""
    return assignment.waiting > 0 or assignment.spec.pinned or not assignment.current


def _is_final(error: ArtifactError | ModelRejected) -> bool:
    if isinstance(error, SourceError):
        return error.trouble in _FINAL
    return is_lasting(error)


def _passes(error: ArtifactError | ModelRejected) -> bool:
    return error.passing if isinstance(error, SourceError) else not is_lasting(error)


def _pause_after(error: ArtifactError | ModelRejected, failures: int) -> float:
    """Seconds until the next try."""
    backoff = min(_RETRY_MAX, RETRY_BASE * 2.0 ** min(10, failures - 1))
    if isinstance(error, SourceError):
        if not error.passing:
            return _RETRY_SELDOM
        if error.retry_after is not None:
            return max(backoff, min(LONGEST_RETRY_AFTER, error.retry_after))
    return backoff
