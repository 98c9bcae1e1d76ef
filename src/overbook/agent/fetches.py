"""Brings the files of assignments here and looks what they are, and tries again with backoff where that fails.

Files that were fetched and then refused are not looked at again before the assignment changes, or a person asks: they
are the same files. What is done with what arrived is `assignments`' to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from overbook.agent.assigned import AssignedContent, Assignment, prepared_model
from overbook.agent.kinds import ArtifactKind
from overbook.agent.looking import failing_alone, told
from overbook.agent.memory.sizes import Sizes
from overbook.agent.notices import Notices
from overbook.agent.reasons import is_lasting
from overbook.agent.servers.protocol import InferenceServer, ModelRejected, PreparedModel
from overbook.artifacts.cache import Artifact, ArtifactError
from overbook.manifests.problems import shown
from overbook.wire import scheduler_pb2 as pb

_CONCURRENT: Final = 4
# Seconds.
RETRY_BASE: Final = 2.0
_RETRY_MAX: Final = 60.0


class Fetching(Protocol):
    """Where artifacts come from, as far as it matters here."""

    async def fetch(self, storage_uri: str, fingerprint: str) -> Artifact:
        """Raises ArtifactError."""
        ...


@dataclass(frozen=True, slots=True)
class FetchPorts:
    """``kind_of``: says by the files what is in a folder. ``begins``, ``arrived``: are told of each fetch that begins,
    and that ended well.
    """

    cache: Fetching
    server: InferenceServer
    sizes: Sizes
    notices: Notices
    kind_of: Callable[[Path], Awaitable[ArtifactKind]]
    begins: Callable[[Assignment], None]
    arrived: Callable[[Assignment, AssignedContent], None]


class Fetches:
    """Of one server replica; `run` owns them. At most one for each assignment: a new one takes the place of the old."""

    def __init__(self, ports: FetchPorts) -> None:
        self._ports = ports
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.get_running_loop().create_future()

    def begin(self, assignment: Assignment) -> None:
        """Also anew, whatever was said against its files."""
        if self._tasks is None:
            raise RuntimeError("the assignments are not running")
        if assignment.fetch is not None:
            assignment.fetch.cancel()
        assignment.failure, assignment.failures, assignment.final = "", 0, False
        name = f"fetch {assignment.spec.name}"
        assignment.fetch = self._tasks.create_task(self._fetch(assignment), name=name)
        self._ports.notices.changed(assignment.spec.name)

    async def _fetch(self, assignment: Assignment) -> None:
        self._ports.begins(assignment)
        while True:
            spec = assignment.spec
            try:
                async with self._slots:
                    with failing_alone(spec.name, f"its artifact {shown(spec.storage_uri)}"):
                        content = await self._look(spec)
            except (ArtifactError, ModelRejected) as error:
                # Without a fingerprint the address may lead to other files at the next try.
                final = is_lasting(error) and bool(spec.fingerprint)
                self._failed(assignment, told(str(error)), final=final)
                if final:
                    return
                backoff = RETRY_BASE * 2.0 ** min(10, assignment.failures - 1)
                await asyncio.sleep(min(_RETRY_MAX, backoff))
                continue
            if assignment.fetch is asyncio.current_task():
                assignment.fetch = None
                assignment.failures, assignment.failure, assignment.final = 0, "", False
                self._ports.arrived(assignment, content)
            return

    def _failed(self, assignment: Assignment, reason: str, *, final: bool) -> None:
        assignment.failures += 1
        assignment.final = final
        if final and assignment.fetch is asyncio.current_task():
            assignment.fetch = None
        if assignment.failure != reason:
            assignment.failure = reason
            self._ports.notices.artifact_failed(assignment.spec.name, reason)
        assignment.changed.set()

    async def _look(self, spec: pb.AssignedModel) -> AssignedContent:
        """Bring the files here and see what they are. Raises ArtifactError, ModelRejected, and whatever files bring."""
        source = (spec.storage_uri, spec.fingerprint)
        artifact = await self._ports.cache.fetch(*source)
        prepared = prepared_model(spec, artifact)
        await self._ports.server.validate(prepared)
        kind = await self._kind(prepared)
        return AssignedContent(artifact, kind, source, prepared, spec.generation)

    async def _kind(self, prepared: PreparedModel) -> ArtifactKind:
        """Only who has to guess has to look."""
        known = self._ports.sizes.evidence(prepared.artifact.name)
        if known is not None:
            return known.kind
        folder = prepared.artifact / prepared.version if prepared.version else prepared.artifact
        return await self._ports.kind_of(folder)
