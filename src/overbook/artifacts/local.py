"""Brings a model's files from a local path into a folder of ours, checks them, and names their content.

Blocking; callers run it in threads. Every byte is read once: the digest is of what was written here, so a
source that changes meanwhile cannot make the two differ. Files of the user are never linked to, as they
may change in place.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.artifacts import walk as walking
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.links import Links
from overbook.artifacts.walk import walk

_CHUNK: Final = 1024 * 1024
_DIGEST_BYTES: Final = 20
_READ_ONLY: Final = 0o444
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

CheckStopped = Callable[[], None]


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """Something in an artifact. ``name`` is relative, with slashes; ``link``: where a link inside it points, relative,
    else None. ``file``: the path of a file's bytes; ``changed``: its modification time in nanoseconds.
    """

    name: str
    size: int
    folder: bool = False
    link: str | None = None
    file: str = ""
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Digested:
    """What an artifact holds: its digest (hex) and the bytes of its files."""

    digest: str
    bytes: int


def copy_artifact(source: Path, target: Path, check_stopped: CheckStopped) -> Digested:
    """Copy a file or folder into ``target`` (new or empty), durably. Raises ArtifactError.

    ``check_stopped`` is called now and then; what it raises ends the copy.
    """
    _, entries = survey(source)
    total = sum(entry.size for entry in entries)
    _require_space(source, target, total)
    lines: list[str] = []
    try:
        target.mkdir(exist_ok=True)
        for entry in entries:
            check_stopped()
            lines.append(_copy_entry(target, entry, check_stopped))
        _sync_folders(target, entries)
    except OSError as error:
        raise _copy_error(source, target, total, error) from error
    return Digested(digest=_digest(lines), bytes=total)


def survey(source: Path) -> tuple[Path, list[LocalEntry]]:
    """The folder to copy from and what to take from it, sorted by name. Raises ArtifactError.

    A single file is an artifact of one entry.
    """
    try:
        root = source.resolve(strict=True)
        info = root.stat()
        if stat.S_ISREG(info.st_mode):
            # A link to it has the name that counts: what it points to may be named by its content.
            return root.parent, [_file(source.name, str(root), info)]
        if not stat.S_ISDIR(info.st_mode):
            raise ArtifactError(
                f"{source} is neither a file nor a folder; expected a model's files"
            )
        entries = entries_of(source, root)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(
            f"{source} does not exist; expected a model's file or folder on this machine"
        ) from error
    except OSError as error:
        raise ArtifactError(
            f"{source} cannot be read: {error.strerror or error} ({error.filename})"
        ) from error
    if not any(not entry.folder for entry in entries):
        raise ArtifactError(f"{source} is an empty folder; expected a model's files")
    return root, entries


def entries_of(source: Path, root: Path) -> list[LocalEntry]:
    """All that is in the folder ``root``, sorted by name; ``source``: what people call it.

    Raises ArtifactError, OSError.
    """
    entries = sorted(_walk(source, root), key=lambda entry: entry.name)
    _require_bounded(source, root, entries)
    return entries


def content_of(folder: Path) -> Digested:
    """Read a published artifact again, all of it. Raises ArtifactError when it cannot be an artifact."""
    _, entries = survey(folder)
    lines = []
    for entry in entries:
        if entry.folder or entry.link is not None:
            lines.append(_line(entry, ""))
            continue
        hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        with open(entry.file, "rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        lines.append(_line(entry, hasher.hexdigest()))
    return Digested(digest=_digest(lines), bytes=sum(entry.size for entry in entries))


def _walk(source: Path, root: Path) -> Iterator[LocalEntry]:
    links = Links(source, root)
    for name, item in walk(root):
        if item.is_symlink():
            real = links.follow(name)
            if links.inside(real):
                link = os.path.relpath(real, os.path.dirname(root / name))
                yield LocalEntry(name=name, size=0, link=link)
            else:
                yield _file(name, real, os.stat(real))
        elif item.is_dir():
            yield LocalEntry(name=name, size=0, folder=True)
        elif item.is_file():
            yield _file(name, item.path, item.stat())
        else:
            raise ArtifactError(
                f"{source}: {name} is a special file (device, pipe or socket); "
                "expected files, folders and links inside the artifact"
            )


def _file(name: str, path: str, info: os.stat_result) -> LocalEntry:
    return LocalEntry(name=name, size=info.st_size, file=path, changed=info.st_mtime_ns)


def _require_bounded(source: Path, root: Path, entries: list[LocalEntry]) -> None:
    """Who follows links to folders must come to an end, and soon: inference servers do. Raises ArtifactError."""
    below: dict[str, list[str]] = {"": []}
    counts: dict[str, int] = {"": 0}
    for entry in entries:
        parent = entry.name.rpartition("/")[0]
        counts[parent] = counts.get(parent, 0) + 1
        if entry.folder:
            below.setdefault(parent, []).append(entry.name)
        elif entry.link is not None and (root / entry.name).is_dir():
            real = os.path.relpath(os.path.realpath(root / entry.name), root)
            below.setdefault(parent, []).append("" if real == "." else real)
    if not any(entry.link is not None for entry in entries):
        return
    folders, seen = [""], 0
    while folders:
        folder = folders.pop()
        seen += counts.get(folder, 0)
        if seen > walking.MAX_ENTRIES:
            raise ArtifactError(
                f"{source} has more than {walking.MAX_ENTRIES} entries when its links to folders are followed; "
                "expected links that do not lead back to where they are"
            )
        folders.extend(below.get(folder, ()))


def _copy_entry(target: Path, entry: LocalEntry, check_stopped: CheckStopped) -> str:
    destination = target / entry.name
    if entry.folder:
        destination.mkdir()
        return _line(entry, "")
    # A link comes before the files of a folder it names only by chance of sorting: parents exist by then.
    if entry.link is not None:
        os.symlink(entry.link, destination)
        return _line(entry, "")
    return _line(entry, _copy_file(Path(entry.file), destination, entry, check_stopped))


def _copy_file(
    source: Path, destination: Path, entry: LocalEntry, check_stopped: CheckStopped
) -> str:
    """Copy and hash; the digest of the file's bytes (hex)."""
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    copied = 0
    # What was a file a moment ago may be a link or a pipe by now: do not follow, do not wait.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as reader:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError(f"{source} changed while it was copied; fetch it again")
        with open(destination, "xb", buffering=0) as writer:
            while chunk := reader.read(_CHUNK):
                check_stopped()
                hasher.update(chunk)
                copied += len(chunk)
                _write_all(writer.fileno(), chunk)
            os.fchmod(writer.fileno(), _READ_ONLY)
            os.fsync(writer.fileno())
    if copied != entry.size:
        raise ArtifactError(
            f"{source} changed while it was copied ({entry.size} bytes, then {copied}); "
            "put a complete file there by renaming it into place"
        )
    return hasher.hexdigest()


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folders(target: Path, entries: list[LocalEntry]) -> None:
    for name in (".", *(entry.name for entry in entries if entry.folder)):
        sync_folder(target / name)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(entry: LocalEntry, digest: str) -> str:
    if entry.folder:
        return f"folder {entry.name}"
    if entry.link is not None:
        return f"link {entry.name}\0{entry.link}"
    return f"file {entry.name}\0{entry.size}\0{digest}"


def _digest(lines: list[str]) -> str:
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for line in lines:
        hasher.update(line.encode(errors="surrogateescape") + b"\n")
    return hasher.hexdigest()


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
