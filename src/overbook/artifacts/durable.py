"""Makes a tree of files durable and ours alone: on the disk whatever happens next, and readable by our user only.

Blocking. Many small files wait for the disk together, as each wait is the same one.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

_AT_ONCE: Final = 8
_FILE: Final = 0o400
_FOLDER: Final = 0o700


def made_durable(tree: Path) -> None:
    """All files and folders in ``tree``, and itself. Raises OSError."""
    folders, files = [str(tree)], []
    for where, below, names in os.walk(tree):
        folders += [os.path.join(where, name) for name in below if not _is_link(where, name)]
        files += [os.path.join(where, name) for name in names if not _is_link(where, name)]
    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(files)))) as threads:
        for done in [threads.submit(_settle, file, _FILE) for file in files]:
            done.result()
    for folder in folders:
        _settle(folder, _FOLDER)


def _is_link(where: str, name: str) -> bool:
    return os.path.islink(os.path.join(where, name))


def _settle(path: str, mode: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
