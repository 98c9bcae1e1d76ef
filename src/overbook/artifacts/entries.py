"""What is in a folder on this machine, as entries of an artifact: names, sizes, times, and where links lead. Blocking.

What an artifact may not have is refused here, before anybody copies or reads a byte of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overbook.artifacts import walk as walking
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.links import Links
from overbook.artifacts.names import Names, refuse_names
from overbook.artifacts.versions import belongs, folder_with_files, not_among
from overbook.artifacts.walk import walk


@dataclass(frozen=True, slots=True)
class LocalEntry:
    """Something in an artifact. ``name`` is relative, with slashes; ``link``: where a link inside it points, relative,
    else None. ``file``: the path of a file's bytes; ``changed``: its modification time in nanoseconds; ``inode`` and
    ``altered``: which file that is, and when anything of it was changed last (nanoseconds).
    """

    name: str
    size: int
    folder: bool = False
    link: str | None = None
    file: str = ""
    changed: int = 0
    inode: int = 0
    altered: int = 0


def survey(source: Path, version: str = "") -> tuple[Path, list[LocalEntry]]:
    """The folder to copy from and what to take from it, sorted by name. Raises ArtifactError.

    A single file is an artifact of one entry. ``version``: of the folders of versions this one alone; "" for all.
    """
    try:
        root = source.resolve(strict=True)
        info = root.stat()
        if stat.S_ISREG(info.st_mode):
            refuse_names([source.name], str(source))
            # A link to it has the name that counts: what it points to may be named by its content.
            return root.parent, [_file(source.name, str(root), info)]
        if not stat.S_ISDIR(info.st_mode):
            raise ArtifactError(
                f"{source} is neither a file nor a folder; expected a model's files"
            )
        entries = of_version(source, entries_of(source, root), version)
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


def of_version(source: Path, entries: list[LocalEntry], version: str) -> list[LocalEntry]:
    """Those that are needed for the ``version`` ("" for all), and no link to what is not. Raises ArtifactError where
    that has no file. ``source``: what people call the folder.
    """
    if not version:
        return entries
    files = [each.name for each in entries if not each.folder]
    folder = folder_with_files(version, files, str(source))
    kept = [
        each for each in entries if belongs(f"{each.name}/" if each.folder else each.name, folder)
    ]
    if not folder:
        folders = (each.name for each in entries if each.folder and "/" not in each.name)
        raise ArtifactError(f"{source}: {not_among(version, folders)}")
    names = {each.name for each in kept}
    return [each for each in kept if each.link is None or _target(each) in names]


def _target(link: LocalEntry) -> str:
    """Where a link of the artifact leads, as a name."""
    return os.path.normpath(os.path.join(os.path.dirname(link.name), link.link or ""))


def _walk(source: Path, root: Path) -> Iterator[LocalEntry]:
    links = Links(source, root)
    names = Names(str(source), walking.MAX_ENTRIES)
    for name, item in walk(root):
        names.add(name, folder=item.is_dir(follow_symlinks=False))
        if item.is_symlink():
            real = links.follow(name)
            if links.inside(real):
                link = os.path.relpath(real, os.path.dirname(root / name))
                yield LocalEntry(name=name, size=0, link=link)
            else:
                yield _file(name, real, os.stat(real))
        elif item.is_dir(follow_symlinks=False):
            yield LocalEntry(name=name, size=0, folder=True)
        elif item.is_file():
            yield _file(name, item.path, item.stat())
        else:
            raise ArtifactError(
                f"{source}: {name} is a special file (device, pipe or socket); "
                "expected files, folders and links inside the artifact"
            )


def _file(name: str, path: str, info: os.stat_result) -> LocalEntry:
    return LocalEntry(
        name=name,
        size=info.st_size,
        file=path,
        changed=info.st_mtime_ns,
        inode=info.st_ino,
        altered=info.st_ctime_ns,
    )


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
