"""Copies a model's files from a local path into a folder of ours, checked and durable, and names their content.

Blocking; callers run it in threads. Every byte is read once: the digest is of what was written here, so a
source that changes meanwhile cannot make the two differ. Files of the user are never linked to, as they
may change in place.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Final

from overbook.artifacts.digests import Digested, digest_of_entries
from overbook.artifacts.entries import LocalEntry, survey
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.keeping import FILE_MODE, FOLDER_MODE, open_regular, sync_folder
from overbook.artifacts.stopping import CheckStopped

_CHUNK: Final = 1024 * 1024
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# What was a file a moment ago is gone, or a link, or something else.
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO)


def copy_artifact(
    source: Path, target: Path, check_stopped: CheckStopped, version: str = ""
) -> Digested:
    """Copy a file or folder into ``target`` (new or empty), durably. Raises ArtifactError.

    Of a source that changes meanwhile nothing is to be used: that is found at the end, by sizes, times and inodes.
    ``check_stopped`` is called now and then; what it raises ends the copy. ``version``: see `survey`.
    """
    _, entries = survey(source, version)
    total = sum(entry.size for entry in entries)
    _require_space(source, target, total)
    sha256: dict[str, str] = {}
    try:
        target.mkdir(mode=FOLDER_MODE, exist_ok=True)
        for entry in entries:
            check_stopped()
            if entry.folder:
                (target / entry.name).mkdir(mode=FOLDER_MODE)
            # A link comes before the files of a folder it names only by chance of sorting: parents exist by then.
            elif entry.link is not None:
                os.symlink(entry.link, target / entry.name)
            else:
                destination = target / entry.name
                sha256[entry.name] = _copy_file(source, destination, entry, check_stopped)
        for name in (".", *(entry.name for entry in entries if entry.folder)):
            sync_folder(target / name)
    except OSError as error:
        raise _copy_error(source, target, total, error) from error
    _require_unchanged(source, version, entries)
    return digest_of_entries(entries, sha256)


def _copy_file(
    source: Path, destination: Path, entry: LocalEntry, check_stopped: CheckStopped
) -> str:
    """Copy and hash; the SHA-256 of the file's bytes (hex)."""
    hasher = hashlib.sha256()
    copied = 0
    try:
        opened = open_regular(entry.file)
    except OSError as error:
        if error.errno in _GONE:
            raise _changed(source, entry.name) from error
        raise
    with (
        opened as reader,
        open(
            os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb", 0
        ) as writer,
    ):
        info = os.fstat(reader.fileno())
        if (info.st_ino, info.st_ctime_ns) != (entry.inode, entry.altered):
            raise _changed(source, entry.name)
        # No further than it was long: one that grows would be copied for ever.
        while copied <= entry.size and (chunk := reader.read(_CHUNK)):
            check_stopped()
            hasher.update(chunk)
            copied += len(chunk)
            _write_all(writer.fileno(), chunk)
        os.fsync(writer.fileno())
    if copied != entry.size:
        raise _changed(source, entry.name)
    return hasher.hexdigest()


def _require_unchanged(source: Path, version: str, before: list[LocalEntry]) -> None:
    """Raises SourceError (CHANGED) where a second look finds anything else than the first."""
    try:
        _, after = survey(source, version)
    except ArtifactError as error:
        raise SourceError(
            Trouble.CHANGED, f"{source} changed while it was copied: {error}"
        ) from error
    if after != before:
        names = sorted({each.name for each in set(before) ^ set(after)})
        raise _changed(source, names[0])


def _changed(source: Path, name: str) -> SourceError:
    return SourceError(
        Trouble.CHANGED,
        f"{source} changed while it was copied ({name}); put complete files there by renaming them into place",
    )


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _require_space(source: Path, target: Path, needed: int) -> None:
    info = os.statvfs(target.parent)
    free = info.f_bavail * info.f_frsize
    if needed > free:
        raise ArtifactError(_no_space(source, target, needed, free))


def _copy_error(source: Path, target: Path, needed: int, error: OSError) -> ArtifactError:
    if error.errno in _FULL:
        info = os.statvfs(target.parent)
        return ArtifactError(_no_space(source, target, needed, info.f_bavail * info.f_frsize))
    reason = error.strerror or str(error)
    return ArtifactError(f"{source} cannot be copied: {reason} ({error.filename})")


def _no_space(source: Path, target: Path, needed: int, free: int) -> str:
    return (
        f"no disk space for {source}: it needs {needed} bytes, {free} are free in "
        f"{target.parent.parent}; free some or use another --state-dir"
    )
