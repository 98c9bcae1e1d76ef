"""A look at a model's files on this machine: how many bytes, and a fingerprint that changes when they do.

Reads names, sizes and times, never contents: cheap enough for every apply. Blocking; call it in a thread.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from dataclasses import dataclass

from overbook.artifacts.address import local_path
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.made_for import made_for
from overbook.artifacts.walk import walk
from overbook.manifests.problems import shown

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Survey:
    """``fingerprint``: hex, of relative names, sizes and modification times. ``made_for``: see `made_for`.

    ``callees``: models that its files say it calls, as an ensemble's do.
    """

    bytes: int
    fingerprint: str
    made_for: str = ""
    callees: tuple[str, ...] = ()


def survey(storage_uri: str) -> Survey | str:
    """Looks at an address; returns, as text for people, why no model can be there.

    Files are somebody else's: whatever looking at them raises is the failure of this address alone.
    """
    try:
        return look(local_path(storage_uri))
    except ArtifactError as error:
        return str(error)
    except Exception as error:
        log.exception("looking at %r raised", storage_uri)
        told = f"{shown(storage_uri)} cannot be looked at ({error!r})"
        return f"{told}; expected a model's file or folder"


def look(path: str) -> Survey:
    """Looks at a file or folder. Raises ArtifactError when it cannot be a model."""
    try:
        digest = hashlib.blake2b(digest_size=16)
        info = os.stat(path)
        if stat.S_ISREG(info.st_mode):
            line = f"{os.path.basename(path)}\0{info.st_size}\0{info.st_mtime_ns}"
            digest.update(line.encode(errors="surrogateescape"))
            return Survey(info.st_size, digest.hexdigest())
        if not stat.S_ISDIR(info.st_mode):
            raise ArtifactError(
                f"{shown(path)} is a device, pipe or socket; expected a model's file or folder"
            )
        lines = sorted(_entries(path))
    except FileNotFoundError:
        raise ArtifactError(
            f"{shown(path)} does not exist; expected a model's file or folder"
        ) from None
    except OSError as error:
        inside = "" if error.filename in (None, path) else f", for {shown(error.filename)}"
        raise ArtifactError(
            f"{shown(path)} cannot be read ({error.strerror}{inside}); "
            "expected a model's file or folder"
        ) from None
    except ValueError as error:
        # A zero byte, or what no file system can have as a name.
        raise ArtifactError(
            f"{shown(path)} can be no path ({error}); expected a model's file or folder"
        ) from None
    if not lines:
        raise ArtifactError(f"{shown(path)} is empty; expected a model's files")
    for name, size, changed in lines:
        digest.update(f"{name}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
    return Survey(
        sum(size for _, size, _ in lines),
        digest.hexdigest(),
        made_for(name for name, _, _ in lines),
    )


def _entries(root: str) -> list[tuple[str, int, int]]:
    """Relative name, bytes and modification time (ns) of every file below ``root``."""
    found: list[tuple[str, int, int]] = []
    for name, entry in walk(root):
        # A link to a folder could lead round in a circle: only real folders are walked.
        if not entry.is_dir(follow_symlinks=False):
            info = entry.stat(follow_symlinks=entry.is_file())
            found.append((name, info.st_size, info.st_mtime_ns))
    return found
