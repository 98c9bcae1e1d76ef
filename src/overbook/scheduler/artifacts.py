"""A look at a model's files on this machine: how many bytes, and a fingerprint that changes when they do.

Reads names, sizes and times, never contents: cheap enough for every apply. Blocking; call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from overbook.manifests.problems import shown
from overbook.manifests.specs import has_scheme
from overbook.scheduler.errors import Invalid
from overbook.scheduler.formats import made_for

# A model is some files, not a home directory; past this the path is surely a mistake.
MAX_ENTRIES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Artifact:
    """``fingerprint``: hex, of relative names, sizes and modification times. ``made_for``: see `formats`."""

    bytes: int
    fingerprint: str
    made_for: str = ""


def local_path(storage_uri: str) -> str:
    """The absolute path that a storageUri names. Raises Invalid for what is not on this machine."""
    if storage_uri.startswith("file://"):
        return unquote(storage_uri.removeprefix("file://").removeprefix("localhost"))
    if has_scheme(storage_uri):
        raise Invalid(
            f"spec.storageUri: {shown(storage_uri)}: remote artifacts aren't supported yet; "
            "expected a local path"
        )
    return storage_uri


def look(path: str) -> Artifact:
    """Looks at a file or folder. Raises Invalid, naming the field, when it cannot be a model."""
    try:
        digest = hashlib.blake2b(digest_size=16)
        info = os.stat(path)
        if stat.S_ISREG(info.st_mode):
            line = f"{os.path.basename(path)}\0{info.st_size}\0{info.st_mtime_ns}"
            digest.update(line.encode(errors="surrogateescape"))
            return Artifact(info.st_size, digest.hexdigest())
        if not stat.S_ISDIR(info.st_mode):
            raise Invalid(
                f"spec.storageUri: {shown(path)} is a device, pipe or socket; expected a model's file or folder"
            )
        lines = sorted(_entries(path))
    except FileNotFoundError:
        raise Invalid(
            f"spec.storageUri: {shown(path)} does not exist; expected a model's file or folder"
        ) from None
    except OSError as error:
        inside = "" if error.filename in (None, path) else f", for {shown(error.filename)}"
        raise Invalid(
            f"spec.storageUri: {shown(path)} cannot be read ({error.strerror}{inside}); "
            "expected a model's file or folder"
        ) from None
    except ValueError as error:
        # A zero byte, or what no file system can have as a name.
        raise Invalid(
            f"spec.storageUri: {shown(path)} can be no path ({error}); expected a model's file or folder"
        ) from None
    if not lines:
        raise Invalid(f"spec.storageUri: {shown(path)} is empty; expected a model's files")
    for name, size, changed in lines:
        digest.update(f"{name}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
    return Artifact(
        sum(size for _, size, _ in lines),
        digest.hexdigest(),
        made_for(name for name, _, _ in lines),
    )


def _entries(root: str) -> list[tuple[str, int, int]]:
    """Relative name, bytes and modification time (ns) of every file below ``root``."""
    found: list[tuple[str, int, int]] = []
    folders = [""]
    seen = 0
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES:
                    raise Invalid(
                        f"spec.storageUri: {shown(root)} has more than {MAX_ENTRIES} entries; "
                        "expected a folder with one model"
                    )
                name = f"{folder}/{entry.name}" if folder else entry.name
                # A link to a folder could lead round in a circle: only real folders are walked.
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                    continue
                info = entry.stat(follow_symlinks=entry.is_file())
                found.append((name, info.st_size, info.st_mtime_ns))
    return found
