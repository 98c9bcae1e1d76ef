"""The folder of the cache on disk: one folder per content, named by its digest, and what is on its way there.

Layout below ``root``: ``<digest>/`` an artifact's files; ``.incoming/<key>/``, and ``.incoming/<key>.*`` beside it,
what is being fetched, or was when that was broken off and can be gone on with; ``.trash/`` what is being deleted. An
artifact appears by one rename after it is durable, so a folder that has a digest for a name is whole. All is readable
by its user alone. For any thread; what blocks says so.

What is here is known in memory, too, since whoever makes room asks for all contents at once. Who removes files says
first which (`doom`): from that moment on nobody finds them, and whoever brings the same again meanwhile keeps them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import threading
import uuid
from collections.abc import Iterable, Set
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
        # Guards what is below, and each moment at which something appears or goes.
        self._lock = threading.Lock()
        self._here: set[str] = set()
        self._doomed: set[str] = set()
        # Bytes of fetches by key, as they were when they were broken off; and those that run.
        self._begun: dict[str, int] = {}
        self._running: set[str] = set()
        # What each of them fetches, as far as it ran since we began.
        self._place_of: dict[str, str] = {}

    def open(self, now: float) -> None:
        """Make it, and drop what cannot be gone on with; ``now`` in Unix seconds. Blocking."""
        # On a full disk no folder could be made: this one stays, and where it is missing each fetch says so.
        with contextlib.suppress(OSError):
            self._make()
        if self.root.is_symlink():
            return  # what it leads to is not ours
        for folder in _entries(self._trash):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in _entries(self._incoming):
            if not _key_of(folder.name) or now - _changed(folder) > _GONE_ON_WITH:
                remove(folder)
        for key in {_key_of(each) for each in _names(self._incoming)}:
            self.measure(key)
        self.look()

    def path(self, digest: str) -> Path:
        return self.root / digest

    def has(self, digest: str) -> bool:
        """Whether its files are here, and stay for now. A look at the disk, and brief."""
        if not _DIGEST.fullmatch(digest) or digest in self._doomed:
            return False
        if os.path.isdir(self.root / digest):
            return True
        self._here.discard(digest)
        return False

    def look(self) -> None:
        """See what is here by now: somebody may have removed files. Blocking."""
        with self._lock:
            ours = not self.root.is_symlink()
            self._here = {each for each in _names(self.root) if ours and _DIGEST.fullmatch(each)}
            begun = {_key_of(each) for each in _names(self._incoming) if ours}
            for gone in self._begun.keys() - begun:
                del self._begun[gone]

    @property
    def digests(self) -> Set[str]:
        """All that is here, by the last look and by what was done since."""
        return self._here - self._doomed

    def identity(self, digest: str) -> int | None:
        """Tells one folder from another that takes its place later; None where there is none."""
        try:
            return os.stat(self.root / digest).st_ino
        except OSError:
            return None

    # -- arriving

    def begin(self, key: str, place: str) -> None:
        """A fetch of this key runs: what there is of it stays until `rest`. ``key``: 32 hex digits. ``place``: what is
        fetched.
        """
        with self._lock:
            self._running.add(key)
            self._place_of[key] = place

    def rest(self, key: str) -> None:
        """It does not run any more, and what there is of it may go."""
        with self._lock:
            self._running.discard(key)

    def incoming(self, key: str) -> Path:
        """The folder in which a fetch collects its files, made if need be. Blocking.

        All fetches have theirs in one folder, so that what was brought for several can be moved to each. What else a
        fetch needs lies beside it, in names that begin with its own and a dot.
        """
        self._make()
        folder = self._incoming / key
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def measure(self, key: str) -> None:
        """See how much there is of a fetch by now. Blocking."""
        total = sum(_bytes(each) for each in self._parts(key))
        with self._lock:
            if total:
                self._begun[key] = total
            else:
                self._begun.pop(key, None)

    def drop_incoming(self, key: str) -> None:
        """All that there is of this fetch. Blocking."""
        for each in self._parts(key):
            remove(each)
        with self._lock:
            self._begun.pop(key, None)

    def _parts(self, key: str) -> list[Path]:
        """All that there is of a fetch."""
        return [self._incoming / each for each in _names(self._incoming) if _key_of(each) == key]

    def begun(self, key: str) -> int:
        """Bytes that there were of this fetch when it was measured last."""
        return self._begun.get(key, 0)

    @property
    def fetches(self) -> list[tuple[str, int, bool]]:
        """Key, bytes as they were measured last, and whether it runs, of each fetch that has brought something."""
        with self._lock:
            return [(key, size, key in self._running) for key, size in self._begun.items()]

    def begun_elsewhere(self, places: Set[str]) -> tuple[str, ...]:
        """Keys of fetches that were broken off, and are known to be of none of these places."""
        with self._lock:
            resting = self._begun.keys() - self._running
            return tuple(
                key
                for key in resting
                if key in self._place_of and self._place_of[key] not in places
            )

    def publish(self, tree: Path, digest: str) -> None:
        """The files in ``tree``, which are durable, appear as this content. Blocking. Raises OSError."""
        target = self.root / digest
        with self._lock:
            self._doomed.discard(digest)
            if not target.is_dir():
                tree.rename(target)
            self._here.add(digest)
        sync_folder(self.root)

    # -- leaving

    def doom(self, names: Iterable[str]) -> None:
        """From now on these contents, and fetches by key, are as good as gone; `discard` has to follow."""
        with self._lock:
            self._doomed.update(names)

    def discard(self, names: Iterable[str]) -> None:
        """Of contents and fetches that are doomed each disappears at one moment; then its files are deleted. Blocking.

        Those that somebody brought again meanwhile stay.
        """
        trash: list[Path] = []
        with self._lock:
            doomed = [each for each in names if each in self._doomed]
            self._doomed.difference_update(doomed)
            for name in doomed:
                if _DIGEST.fullmatch(name):
                    self._here.discard(name)
                    trash += self._put_away(self.root / name)
                elif name not in self._running:
                    self._begun.pop(name, None)
                    for each in self._parts(name):
                        trash += self._put_away(each)
        for folder in trash:
            remove(folder)

    def discard_damaged(self, digest: str, identity: int | None) -> None:
        """Unless another folder has taken its place since that was asked for. Blocking."""
        with self._lock:
            same = identity is not None and self.identity(digest) == identity
            self._doomed.update([digest] if same else ())
        if same:
            self.discard([digest])

    def _put_away(self, path: Path) -> list[Path]:
        """Where it is now, to be deleted; nothing where it is not here."""
        if not os.path.lexists(path):
            return []
        # Where the folder for it cannot be made on a full disk, there is the one for what comes in.
        into = self._trash if self._trash.is_dir() else self._incoming
        return [path.rename(into / uuid.uuid4().hex)]

    def _make(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if self.root.is_symlink():
            raise NotADirectoryError(told_of_link(self.root))
        self.root.chmod(0o700)
        for each in (self._incoming, self._trash):
            each.mkdir(mode=0o700, exist_ok=True)


def told_of_link(root: Path) -> str:
    """Why nothing is kept there."""
    return (
        f"{root} is a symbolic link to {os.path.realpath(root)}, whose files are not touched; expected a folder of "
        "Overbook's own: remove the link, or start with a --state-dir on the other disk"
    )


def remove(path: Path) -> None:
    """A file, or a folder with all that is in it; what cannot be removed now is removed at the next start. Blocking."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _entries(folder: Path) -> list[Path]:
    return [folder / each for each in _names(folder)]


def _names(folder: Path) -> list[str]:
    """There may be many, and of most no more than the name is asked for: no path is made of them."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _key_of(name: str) -> str:
    """Of which fetch it is; "" for none."""
    found = _KEY.fullmatch(name)
    return "" if found is None else found[1]


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _bytes(folder: Path) -> int:
    """Of a file, or of all files in a folder: on the disk, which for files with holes is less than they are long."""
    files = [folder]
    for where, _, names in os.walk(folder):
        files += [Path(where, name) for name in names]
    total = 0
    for each in files:
        with contextlib.suppress(OSError):
            info = each.lstat()
            total += 0 if stat.S_ISDIR(info.st_mode) else info.st_blocks * 512
    return total
