"""The folder of the cache on disk: one folder per content, named by its digest, and what is on its way there.

Layout below ``root``: ``<digest>/`` an artifact's files; ``.incoming/<key>/``, and ``.incoming/<key>.*`` beside it,
what is being fetched, or was when that was broken off and can be gone on with; ``.trash/`` what is being deleted. An
artifact appears by one rename after it is durable, so a folder that has a digest for a name is whole. All is readable
by its user alone. Blocking; for any thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from overbook.artifacts.keeping import sync_folder

_DIGEST: Final = re.compile(r"[0-9a-f]{40}")
_KEY: Final = re.compile(r"([0-9a-f]{32})(\..*)?")
# Seconds for which a fetch that was broken off can be gone on with.
_GONE_ON_WITH: Final = 24 * 3600.0


class ContentFolder:
    """A folder that somebody removes while we run is made again, when there is something to put into it."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        self._incoming = root / ".incoming"
        self._trash = root / ".trash"
        # Guards the moment at which a digest's folder appears or goes.
        self._publishing = threading.Lock()

    def open(self, now: float) -> None:
        """Make it, and drop what cannot be gone on with; ``now`` in Unix seconds."""
        # On a full disk no folder could be made: this one stays, and where it is missing each fetch says so.
        with contextlib.suppress(OSError):
            self._make()
        for folder in _entries(self._trash):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in _entries(self._incoming):
            if not _key_of(folder) or now - _changed(folder) > _GONE_ON_WITH:
                shutil.rmtree(folder, ignore_errors=True)

    def path(self, digest: str) -> Path:
        return self.root / digest

    def has(self, digest: str) -> bool:
        """Whether its files are here."""
        return bool(_DIGEST.fullmatch(digest)) and (self.root / digest).is_dir()

    @property
    def digests(self) -> list[str]:
        return [each.name for each in _entries(self.root) if _DIGEST.fullmatch(each.name)]

    # -- arriving

    def incoming(self, key: str) -> Path:
        """The folder in which a fetch collects its files, made if need be. ``key``: 32 hex digits.

        All fetches have theirs in one folder, so that what was brought for several can be moved to each. What else a
        fetch needs lies beside it, in names that begin with its own and a dot.
        """
        self._make()
        folder = self._incoming / key
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def drop_incoming(self, key: str) -> None:
        """All that there is of this fetch."""
        for each in _entries(self._incoming):
            if _key_of(each) == key:
                remove(each)

    def leftovers(self, active: Iterable[str]) -> list[tuple[Path, int]]:
        """Fetches that were broken off, the oldest first, with the bytes of their files; but for the ``active``."""
        busy = set(active)
        found = [each for each in _entries(self._incoming) if _key_of(each) not in busy]
        return [(each, _bytes(each)) for each in sorted(found, key=_changed)]

    def publish(self, tree: Path, digest: str) -> None:
        """The files in ``tree``, which are durable, appear as this content. Raises OSError."""
        target = self.root / digest
        with self._publishing:
            if not target.is_dir():
                tree.rename(target)
        sync_folder(self.root)

    # -- leaving

    def discard(self, digests: Iterable[str]) -> None:
        """Each disappears at one moment; then its files are deleted."""
        trash = []
        with self._publishing:
            for digest in digests:
                if (self.root / digest).is_dir():
                    # Where the folder for it cannot be made on a full disk, there is the one for what comes in.
                    into = self._trash if self._trash.is_dir() else self._incoming
                    trash.append(into / uuid.uuid4().hex)
                    (self.root / digest).rename(trash[-1])
        for folder in trash:
            remove(folder)

    def _make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for each in (self._incoming, self._trash):
            each.mkdir(mode=0o700, exist_ok=True)


def remove(folder: Path) -> None:
    """With all that is in it; what cannot be removed now is removed at the next start."""
    shutil.rmtree(folder, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return [Path(each.path) for each in found]
    except OSError:
        return []


def _key_of(incoming: Path) -> str:
    """Of which fetch it is; "" for none."""
    found = _KEY.fullmatch(incoming.name)
    return "" if found is None else found[1]


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _bytes(folder: Path) -> int:
    """On the disk, which for files with holes is less than they are long."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total
