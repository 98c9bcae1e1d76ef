"""Files as they lie in the cache: for their user alone, not to be written, and durable. Blocking."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Final

from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.walk import walk

FILE_MODE: Final = 0o400
FOLDER_MODE: Final = 0o700
# Side by side they share the writes of the disk's journal.
_SYNCING: Final = 8


def keep(folder: Path, check_stopped: CheckStopped) -> None:
    """Makes all that is below a folder of ours, and the folder, as it is to lie in the cache.

    ``check_stopped``: what it raises ends the work. Raises ArtifactError for more than one artifact can have, OSError.
    """
    files, folders = [], [folder]
    for name, entry in walk(folder):
        if entry.is_dir(follow_symlinks=False):
            folders.append(folder / name)
        elif entry.is_file(follow_symlinks=False):
            files.append(folder / name)

    def keep_file(path: Path) -> None:
        check_stopped()
        with open_regular(path) as file:
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())

    def keep_folder(path: Path) -> None:
        check_stopped()
        path.chmod(FOLDER_MODE)
        sync_folder(path)

    if len(files) == len(folders) == 1:
        # Most models: there is nothing to do side by side.
        keep_file(files[0])
        keep_folder(folder)
        return
    with ThreadPoolExecutor(_SYNCING, "keeping") as threads:
        list(threads.map(keep_file, files))
        list(threads.map(keep_folder, folders))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """A file for reading, without a buffer. What is no file, such as a link or a pipe, is neither followed nor waited
    for: raises OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
    return FileIO(descriptor, "rb")
