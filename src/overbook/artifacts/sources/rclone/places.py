"""Where files are while they come, beside the folder that gets them, and what counts as whole. Blocking, brief.

A file gets its own name in ``into`` by one rename, when it is whole. So what has its name and its size there is not
fetched again. What is part of a file lies in a folder beside ``into``, and stays there until somebody goes on. Batches
of small files have their own folders: see `batches`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from overbook.artifacts.sources.protocol import RemoteFile


def partial_folder(into: Path) -> Path:
    """Of large files that came in part."""
    return into.with_name(f"{into.name}.partial")


def begun(into: Path) -> bool:
    """Whether an earlier try has left anything."""
    return into.exists() or partial_folder(into).exists()


def whole(into: Path, files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Those that are there."""
    return [
        each for each in files if each.size is not None and is_whole(into / each.name, each.size)
    ]


def is_whole(path: Path, size: int) -> bool:
    """Whether a plain file is there, of that many bytes."""
    try:
        info = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size == size


def move(arrived: Path, into: Path, name: str) -> None:
    """Give a file its own name. Raises OSError."""
    target = into / name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.rename(arrived, target)


def move_folder(arrived: Path, into: Path) -> bool:
    """All of an artifact's files at once; whether that could be done. Raises OSError."""
    try:
        os.rename(arrived, into)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            return False
        raise
    return True


def remove_empty(folder: Path) -> None:
    """With all its folders, as long as no file is in them."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
