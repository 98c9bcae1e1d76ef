"""The folder into which rclone brings a batch of small files, and what is in it when its process was killed.

It lies beside the folders of the artifacts that get its files, and is called as theirs are, so that it is still there
after a restart. In it a note for each artifact says where its files are; beside each artifact's folder a link says in
which batches. Rclone gives a file its name when it is whole: so nothing that has one is fetched again. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.rclone import places
from overbook.artifacts.sources.rclone.checking import checked
from overbook.artifacts.sources.rclone.mismatch import Mismatch

# No file of an artifact may have such a name.
_NOTES: Final = ".overbook-wanted"


def begin(intos: Sequence[Path], root: str) -> Path:
    """The folder of a new batch. ``intos``: folders that get its files, all in one. ``root``: of the remote, to which
    paths in the batch are relative. Raises OSError.
    """
    intos[0].parent.mkdir(parents=True, exist_ok=True)
    batch = intos[0].with_name(uuid.uuid4().hex)
    (batch / _NOTES).mkdir(mode=0o700, parents=True)
    batch.chmod(0o700)
    for into in set(intos):
        (batch / _NOTES / into.name).write_bytes(root.encode(errors="surrogateescape"))
        _link(batch, into)
    return batch


def end(batch: Path, intos: Iterable[Path]) -> None:
    """Nobody wants anything of it any more."""
    for into in set(intos):
        _unlink(batch, into)
    places.remove(batch)


def take_left_behind(into: Path, files: Iterable[RemoteFile]) -> None:
    """What earlier batches have of these files, each as it was listed, gets its name in ``into``. Raises OSError."""
    for name in _names(_links(into)):
        batch = into.with_name(name)
        with contextlib.suppress(OSError):
            root = (batch / _NOTES / into.name).read_bytes().decode(errors="surrogateescape")
            alone = len(_names(batch / _NOTES)) == 1
            for file in files:
                _take(batch / below(root, file.origin), into, file, alone=alone)
        _leave(batch, into)


def keep(path: Path, into: Path, file: RemoteFile) -> None:
    """A file of a batch that ended too early gets its name in ``into``, if it is whole, as listed, and still wanted."""
    # Who wants it no more has removed the folder.
    if into.is_dir():
        with contextlib.suppress(OSError):
            _take(path, into, file, alone=False)


def below(root: str, path: str) -> str:
    """``path``, relative to ``root``."""
    return path.removeprefix(root).lstrip("/") if root else path.lstrip("/")


def _take(path: Path, into: Path, file: RemoteFile, *, alone: bool) -> None:
    """``alone``: nobody else wants it."""
    size = file.size or 0
    if not places.is_whole(path, size) or places.is_whole(into / file.name, size):
        return
    with contextlib.suppress(Mismatch):
        checked(path, file)
        if not alone:
            # Each has its own: who changes one changes no other.
            own = path.with_name(uuid.uuid4().hex)
            shutil.copyfile(path, own)
            path = own
        places.move(path, into, file.name)


def _leave(batch: Path, into: Path) -> None:
    """The last to leave removes it."""
    with contextlib.suppress(OSError):
        (batch / _NOTES / into.name).unlink()
    _unlink(batch, into)
    with contextlib.suppress(OSError):
        (batch / _NOTES).rmdir()
        places.remove(batch)


def _link(batch: Path, into: Path) -> None:
    while True:
        _links(into).mkdir(mode=0o700, exist_ok=True)
        # Another batch of the same artifact may have ended just now, and removed the folder.
        with contextlib.suppress(FileNotFoundError):
            os.symlink(f"../{batch.name}", _links(into) / batch.name)
            return


def _unlink(batch: Path, into: Path) -> None:
    with contextlib.suppress(OSError):
        (_links(into) / batch.name).unlink()
        _links(into).rmdir()


def _links(into: Path) -> Path:
    return into.with_name(f"{into.name}.batches")


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
