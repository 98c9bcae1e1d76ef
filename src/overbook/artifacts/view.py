"""One agent's view of its machine's cache of artifacts: what it asks for, it holds."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager

from overbook.artifacts.address import Asked
from overbook.artifacts.cache import (
    Artifact,
    ArtifactCache,
    Left,
    Places,
    Urgent,
    not_urgent,
)
from overbook.artifacts.index import Content
from overbook.artifacts.kept import Uses
from overbook.artifacts.relief import Relieve
from overbook.artifacts.space import Usage
from overbook.artifacts.transfer import Transferred


class CacheView:
    """``name``: that the agent has after a restart, too. See `ArtifactCache` for what each call does."""

    def __init__(self, cache: ArtifactCache, name: str) -> None:
        self._cache = cache
        self._name = name

    def join(self, uses: Uses, left: Left, relieve: Relieve) -> None:
        self._cache.join(self._name, uses, left, relieve)

    def leave(self) -> None:
        self._cache.leave(self._name)

    def fetched(
        self, asked: Asked, urgent: Urgent = not_urgent
    ) -> AbstractAsyncContextManager[Artifact]:
        """Raises ArtifactError."""
        return self._cache.fetched(asked, self._name, urgent)

    def known(self, asked: Asked) -> Content | None:
        found = self._cache.known(asked)
        if found is not None:
            self._cache.hold(found.digest, self._name)
        return found

    def is_here(self, digest: str) -> bool:
        return self._cache.is_here(digest)

    def artifact(self, content: Content, fingerprint: str) -> Artifact:
        return self._cache.artifact(content, fingerprint)

    def held(self, digest: str, size: int) -> Artifact | None:
        return self._cache.held(digest, size)

    def holding(self, digest: str) -> AbstractContextManager[None]:
        return self._cache.holding(digest)

    async def intact(self, digest: str) -> bool:
        return await self._cache.intact(digest)

    async def verify(self, digest: str) -> bool:
        return await self._cache.verify(digest)

    async def prune(self, keep: set[str]) -> int:
        return await self._cache.prune(self._name, keep)

    async def drop_parts(self, places: Places) -> None:
        await self._cache.drop_parts(self._name, places)

    def note(self, digest: str, facts: str) -> None:
        self._cache.note(digest, facts)

    def changed(self) -> None:
        self._cache.changed()

    def usage(self) -> Usage:
        """Of the whole cache."""
        return self._cache.usage()

    def transferred(self, asked: Asked) -> Transferred | None:
        return self._cache.transferred(asked)
