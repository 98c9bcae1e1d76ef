"""The cache of artifacts: an address goes in, a local, checked, read-only folder comes out.

Layout below ``root``: ``<digest>/`` an artifact's files, ``.incoming/`` what is being copied or thrown
away, ``index.db`` what is known about addresses. An artifact appears by one rename after it is durable,
so a folder that has a digest for a name is whole; whatever a crash left in ``.incoming`` is removed at
start. Which artifacts are needed is the caller's knowledge: it says so to `prune`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from overbook.artifacts.address import local_path
from overbook.artifacts.digests import Digested, content_of
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.index import Index
from overbook.artifacts.keeping import FOLDER_MODE, sync_folder
from overbook.artifacts.local import copy_artifact
from overbook.database import tell_log

__all__ = ["Artifact", "ArtifactCache", "ArtifactError"]

_CONCURRENT_COPIES: Final = 4
_DIGEST: Final = re.compile(r"[0-9a-f]{40}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Artifact:
    """``path``: the folder of its files, read-only and shared. ``bytes``: of its files."""

    path: Path
    digest: str
    bytes: int


class _Stopped(Exception):
    """Nobody waits for this copy any more."""


class ArtifactCache:
    """All methods are for one event loop. Making one opens its index and clears ``.incoming``: blocking, brief."""

    def __init__(self, root: Path, tell: Callable[[str], None] = tell_log) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        # On a full disk no folder could be made: this one stays, and where it is missing each copy says so.
        with contextlib.suppress(OSError):
            self._incoming.mkdir(parents=True, exist_ok=True)
            root.chmod(FOLDER_MODE)
            for entry in os.scandir(self._incoming):
                shutil.rmtree(entry.path, ignore_errors=True)
        self._index = Index(root / "index.db", tell)
        self._copies = asyncio.Semaphore(_CONCURRENT_COPIES)
        self._keys: dict[tuple[str, str], asyncio.Lock] = {}
        # Guards the moment at which a digest's folder appears or goes, in whatever thread.
        self._publishing = threading.Lock()
        self._ticks = itertools.count()
        self._used: dict[str, int] = {}
        self._active: set[int] = set()

    async def fetch(self, storage_uri: str, fingerprint: str) -> Artifact:
        """The artifact, copied here unless this content is here already. Raises ArtifactError.

        ``fingerprint`` says which content of the address is meant; an empty one is never remembered.
        Cancelling stops the copy and leaves nothing behind.
        """
        if (found := self._look_up(storage_uri, fingerprint)) is not None:
            return found
        source = Path(local_path(storage_uri))
        started = next(self._ticks)
        self._active.add(started)
        try:
            lock = self._keys.setdefault((storage_uri, fingerprint), asyncio.Lock())
            async with lock, self._copies:
                # Somebody else may have brought it while this call waited.
                found = self._look_up(storage_uri, fingerprint)
                if found is None:
                    try:
                        content = await _stoppable(lambda check: self._bring(source, check))
                    except OSError as error:
                        reason = f"{source} cannot be kept in {self._root}: {error}"
                        raise ArtifactError(reason) from error
                    found = self._artifact(content)
                    if fingerprint:
                        self._index.put(storage_uri, fingerprint, content)
        finally:
            self._active.discard(started)
            if (storage_uri, fingerprint) in self._keys and not lock.locked():
                del self._keys[storage_uri, fingerprint]
        return found

    def held(self, digest: str, size: int) -> Artifact | None:
        """An artifact of ``size`` bytes that was fetched at some time; None when it is not here any more."""
        if not _DIGEST.fullmatch(digest) or not (self._root / digest).is_dir():
            return None
        self._used[digest] = next(self._ticks)
        return self._artifact(Digested(digest, size))

    async def verify(self, digest: str) -> bool:
        """Read the artifact again, all of it. A damaged one is removed, so that the next fetch brings it anew."""
        path = self._root / digest
        try:
            content = await asyncio.to_thread(content_of, path)
            intact = content.digest == digest
        except (ArtifactError, OSError):
            intact = False
        if not intact:
            await asyncio.to_thread(self._throw_away, [digest])
        return intact

    async def prune(self, keep: set[str]) -> int:
        """Remove every artifact but these and those fetched since; how many went."""
        oldest = min(self._active, default=next(self._ticks))
        return await asyncio.to_thread(self._prune, frozenset(keep), oldest)

    def close(self) -> None:
        self._index.close()

    def _look_up(self, uri: str, fingerprint: str) -> Artifact | None:
        content = self._index.get(uri, fingerprint) if fingerprint else None
        if content is None or not (self._root / content.digest).is_dir():
            return None
        self._used[content.digest] = next(self._ticks)
        return self._artifact(content)

    def _artifact(self, content: Digested) -> Artifact:
        return Artifact(self._root / content.digest, content.digest, content.bytes)

    def _bring(self, source: Path, check_stopped: Callable[[], None]) -> Digested:
        self._incoming.mkdir(parents=True, exist_ok=True)
        temporary = self._incoming / uuid.uuid4().hex
        try:
            content = copy_artifact(source, temporary, check_stopped)
            target = self._root / content.digest
            with self._publishing:
                self._used[content.digest] = next(self._ticks)
                if not target.is_dir():
                    temporary.rename(target)
            sync_folder(self._root)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return content

    def _prune(self, keep: frozenset[str], since: int) -> int:
        names = [entry.name for entry in os.scandir(self._root) if _DIGEST.fullmatch(entry.name)]
        unwanted = [name for name in names if name not in keep]
        return self._throw_away(unwanted, since)

    def _throw_away(self, digests: list[str], since: int | None = None) -> int:
        """Make the artifacts disappear at one moment each, then delete their files."""
        gone, trash = [], []
        with self._publishing:
            for digest in digests:
                if since is not None and self._used.get(digest, -1) >= since:
                    continue
                if (self._root / digest).is_dir():
                    # Straight into a folder that exists: on a full disk no new one could be made.
                    trash.append(self._incoming / uuid.uuid4().hex)
                    (self._root / digest).rename(trash[-1])
                self._used.pop(digest, None)
                gone.append(digest)
        for folder in trash:
            shutil.rmtree(folder, ignore_errors=True)
        self._index.forget(gone)
        return len(gone)


async def _stoppable(work: Callable[[Callable[[], None]], T]) -> T:
    """Run blocking work in a thread; when this is cancelled the work is told, and waited for."""
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise _Stopped

    running = asyncio.ensure_future(asyncio.to_thread(work, check))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # nobody is left to hear of it
        raise
