"""Keeps other users of this machine out of the state folder: what is written from now on is for this user alone, and
what an older Overbook left open is closed.

Who may read what inside a model's process is not decided here: that runs as this user.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_OTHERS: Final = 0o077
# What the parts keep in the state folder, by name.
_WRITTEN: Final = frozenset({"agents", "gateway", "parts", "run", "scheduler"})
# Large, and the same for everybody or closed file by file: nobody gets past the folder itself.
_AT_THE_DOOR: Final = frozenset({"cache", "downloads", "environments", "runtimes", "tls"})
_LOCK: Final = "lock"
_ADDRESS: Final = "address.json"


def from_now_on() -> None:
    """Files, folders and sockets of this process, and of the children that it starts later, are for its user alone."""
    os.umask(_OTHERS)


def mend(state_dir: Path) -> None:
    """Close what is there to others. A folder that also has what is not Overbook's stays as it is, and is named in the
    log where others may look into it. Blocking.
    """
    names = set(os.listdir(state_dir))
    if all(map(_is_ours, names)):
        _close(state_dir)
    if state_dir.stat().st_mode & _OTHERS:
        log.warning(
            "others may look into the state folder %s, which is not Overbook's alone, or belongs to another user; what "
            "Overbook writes there is for this user alone; run `chmod 700` on it, or give a folder of its own with "
            "--state-dir",
            state_dir,
        )
    for name in filter(_is_ours, names):
        path = state_dir / name
        if name in _WRITTEN:
            for each in _below(path):
                _close(each)
        _close(path)


def _is_ours(name: str) -> bool:
    return name in _WRITTEN | _AT_THE_DOOR | {_LOCK, _ADDRESS} or ".log" in name


def _below(folder: Path) -> Iterator[Path]:
    """What is in it at any depth, links not followed."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent, name)


def _close(path: Path) -> None:
    """Take others' rights away, where it is this user's to do so. What is gone meanwhile needs nothing."""
    try:
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        # A folder for everybody, such as /tmp, and what a link leads to are nobody's to close.
        if stat.S_ISLNK(found.st_mode) or mode & stat.S_ISVTX or not mode & _OTHERS:
            return
        if found.st_uid == os.getuid():
            path.chmod(mode & ~_OTHERS)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s stays open to others: %s", path, error.strerror or error)
