"""A look at a model's files on this machine: how many bytes, and a fingerprint that changes when they do.

What a copy of them would be refused for, such as a link that leads out of their folder, is refused here as well. Reads
names, sizes and times, never contents: cheap enough for every apply. Blocking; call it in a thread.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from overbook.artifacts.address import local_path
from overbook.artifacts.entries import entries_of, of_version
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.made_for import made_for
from overbook.artifacts.names import refuse_names
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


@dataclass(frozen=True, slots=True)
class NotNow:
    """It could not be looked at; another time it may. ``reason``: why, for people."""

    reason: str


def survey(storage_uri: str, version: str = "", machine: str = "") -> Survey | str:
    """Looks at an address of this ``machine``; returns, as text for people, why no model can be there.

    ``version``: of the folders of versions this one alone; "" for all.

    Files are somebody else's: whatever looking at them raises is the failure of this address alone.
    """
    try:
        return look(local_path(storage_uri, machine), version)
    except ArtifactError as error:
        return str(error)
    except Exception as error:
        log.exception("looking at %r raised", storage_uri)
        told = f"{shown(storage_uri)} cannot be looked at ({error!r})"
        return f"{told}; expected a model's file or folder"


def look(path: str, version: str = "") -> Survey:
    """Looks at a file or folder. Raises ArtifactError when it cannot be a model."""
    try:
        digest = hashlib.blake2b(digest_size=16)
        info = os.stat(path)
        if stat.S_ISREG(info.st_mode):
            refuse_names([os.path.basename(path)], path)
            line = f"{os.path.basename(path)}\0{info.st_size}\0{info.st_mtime_ns}"
            digest.update(line.encode(errors="surrogateescape"))
            return Survey(info.st_size, digest.hexdigest())
        if not stat.S_ISDIR(info.st_mode):
            raise ArtifactError(
                f"{shown(path)} is a device, pipe or socket; expected a model's file or folder"
            )
        # Of folders only what is in them counts.
        found = of_version(Path(path), entries_of(Path(path), Path(path).resolve()), version)
        entries = [each for each in found if not each.folder]
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
            f"{shown(path)} cannot be a path ({error}); expected a model's file or folder"
        ) from None
    if not entries:
        raise ArtifactError(f"{shown(path)} is empty; expected a model's files")
    for each in entries:
        line = f"{each.name}\0{each.size if each.link is None else each.link}\0{each.changed}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return Survey(
        sum(each.size for each in entries),
        digest.hexdigest(),
        made_for(each.name for each in entries),
    )
