"""The files of contents: brought here when they are needed, looked at whether they are as they were published, and kept
from leaving while somebody reads them.

Which files may leave at all is told by `uses`, and decided in `artifacts`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Protocol

from overbook.agent.servers.protocol import PreparedModel
from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact, Places, Urgent, not_urgent
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.index import Content
from overbook.artifacts.space import Usage
from overbook.artifacts.transfer import Transferred


class Cache(Protocol):
    """`overbook.artifacts.view.CacheView`."""

    def fetched(
        self, asked: Asked, urgent: Urgent = not_urgent
    ) -> AbstractAsyncContextManager[Artifact]:
        """``urgent``: whether idle models may leave memory for it. Raises ArtifactError."""
        ...

    def known(self, asked: Asked) -> Content | None: ...

    def is_here(self, digest: str) -> bool: ...

    def artifact(self, content: Content, fingerprint: str) -> Artifact: ...

    def held(self, digest: str, size: int) -> Artifact | None:
        """An artifact of ``size`` bytes that was fetched at some time; None when nobody knows it any more."""
        ...

    def holding(self, digest: str) -> AbstractContextManager[None]: ...

    async def intact(self, digest: str) -> bool: ...

    async def verify(self, digest: str) -> bool: ...

    async def prune(self, keep: set[str]) -> int: ...

    async def drop_parts(self, places: Places) -> None: ...

    def note(self, digest: str, facts: str) -> None: ...

    def changed(self) -> None:
        """Files may leave the disk now, or will soon."""
        ...

    def usage(self) -> Usage: ...

    def transferred(self, asked: Asked) -> Transferred | None: ...


class Files:
    """Of one server replica. ``source``: where a content came from; None when it is not wanted any more.

    ``damaged``: is told of a model whose files, at this path, are not as they were published. ``wanted``: whether
    somebody waits for a model; for nobody else do others leave memory, so that its files have room.
    """

    def __init__(
        self,
        cache: Cache,
        source: Callable[[PreparedModel], Asked | None],
        damaged: Callable[[str, str], None],
        wanted: Callable[[str], bool],
    ) -> None:
        self._cache = cache
        self._source = source
        self._damaged = damaged
        self._wanted = wanted

    @asynccontextmanager
    async def present(self, model: PreparedModel) -> AsyncIterator[None]:
        """Its files are here, and as they were published, for as long as the block runs. Raises ArtifactError."""
        digest = model.artifact.name
        with self._cache.holding(digest):
            if self._cache.is_here(digest):
                if await self._cache.intact(digest):
                    yield
                    return
                self._damaged(model.name, str(model.artifact))
        asked = self._source(model)
        if asked is None:
            raise ArtifactError(f"the files of model '{model.name}' are not here any more")
        async with self._cache.fetched(asked, lambda: self._wanted(model.name)) as found:
            if found.digest != digest:
                raise ArtifactError(
                    f"{asked.storage_uri} has other files by now than when model '{model.name}' was registered, and "
                    "these are not here any more; apply the model again"
                )
            yield
