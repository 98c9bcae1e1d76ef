"""How rclone is asked what is at an address, and what its answer means. Pure.

Several addresses in one folder can be asked for at once: each by its own name there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.sources.protocol import Listing, RemoteFile
from overbook.artifacts.sources.rclone.addresses import ARCHIVES
from overbook.artifacts.sources.rclone.remotes import GCS, Remote
from overbook.artifacts.sources.rclone.sections import MAIN
from overbook.artifacts.versions import belongs, folder_with_files
from overbook.artifacts.walk import MAX_ENTRIES

_GLOB: Final = re.compile(r"([\\*?\[\]{},])")
# Listings of these have hashes, without reading anything for them.
_HASHED: Final = frozenset(
    {"s3", GCS, "gcs", "azureblob", "b2", "swift", "drive", "onedrive", "box"}
)
_ASK: Final = ("lsjson", "--recursive", "--files-only", "--no-mimetype", "--use-server-modtime")
_SWEEP: Final = ("--fast-list", "--filter-from", "{list}")
_STAT: Final = ("lsjson", "--stat", "--no-mimetype", "--use-server-modtime")
# Each folder by itself, so that those which nobody wants are not read.
_BY_FOLDER: Final = ("--disable", "ListR", "--checkers", "16", "--filter-from", "{list}")
# Of a version's number, with the zeros before it.
_DIGITS: Final = 8
# Of hashes, the surest first.
_HASHES: Final = ("sha256", "sha1", "md5", "quickxor", "crc32c")


@dataclass(frozen=True, slots=True)
class Named:
    """One of those that are asked for together. ``name``: in their folder. ``version``: "" for everything."""

    name: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    arguments: tuple[str, ...]
    filters: bytes


def question(remote: Remote, version: str) -> Question:
    """For one address by itself."""
    path = f"{MAIN}:{remote.path}"
    if not version:
        return Question((*_asked(remote), path), b"")
    rules = ["+ /*", *_version_rules("", version), "- *"]
    return Question((*_asked(remote), *_BY_FOLDER, path), _rules(rules))


def joint_question(remote: Remote, parent: str, named: Sequence[Named], *, sweep: bool) -> Question:
    """For several in one folder; ``remote``: of any of them. ``sweep``: by few requests, which also read all that is
    beside them; else by one for each folder.
    """
    rules = []
    for each in named:
        name = f"/{_escaped(each.name)}"
        rules.append(f"+ {name}")
        if each.version:
            rules += [f"+ {name}/*", *_version_rules(name, each.version)]
        else:
            rules.append(f"+ {name}/**")
    rules.append("- *")
    way = _SWEEP if sweep else _BY_FOLDER
    return Question((*_asked(remote), *way, f"{MAIN}:{parent}"), _rules(rules))


def _asked(remote: Remote) -> tuple[str, ...]:
    return (*_ASK, "--hash") if remote.kind in _HASHED else _ASK


def _rules(rules: list[str]) -> bytes:
    return "".join(f"{rule}\n" for rule in rules).encode()


def _version_rules(folder: str, version: str) -> list[str]:
    """Numbers mean the same with zeros before them. By name each: rclone reads all folders for a pattern."""
    names = [version]
    if _is_number(version):
        number = version.lstrip("0") or "0"
        names = [number.zfill(digits) for digits in range(len(number), _DIGITS + 1)] or [number]
    return [f"+ {folder}/{_escaped(name)}/**" for name in names]


def _escaped(name: str) -> str:
    return _GLOB.sub(r"\\\1", name)


class Files:
    """What rclone's answer names, while it comes. ``paths``: relative to the folder that was asked for."""

    def __init__(self, most: int = MAX_ENTRIES) -> None:
        self._most = most
        self._found: list[RemoteFile] = []
        self.too_many = False

    def take(self, line: bytes) -> bool:
        """One line; whether more are wanted."""
        text = line.strip().rstrip(b",")
        if text.startswith(b"{"):
            file = file_of(json.loads(text))
            if file is not None:
                self._found.append(file)
        self.too_many = len(self._found) > self._most
        return not self.too_many

    @property
    def found(self) -> tuple[RemoteFile, ...]:
        return tuple(self._found)


def file_of(told: dict[str, object]) -> RemoteFile | None:
    """None for the mark of a folder. ``told``: as rclone has it in JSON."""
    path, size = str(told["Path"] or told["Name"]), told.get("Size")
    # As consoles of object stores make it.
    if path.endswith("/") or not path:
        return None
    known = size if isinstance(size, int) and size >= 0 else None
    return RemoteFile(path, known, _mark(told))


def _mark(told: dict[str, object]) -> str:
    hashes = told.get("Hashes")
    if isinstance(hashes, dict):
        for kind in _HASHES:
            if hashes.get(kind):
                return f"{kind}:{hashes[kind]}"
    return f"time:{told.get('ModTime', '')}"


def md5_of(file: RemoteFile) -> str:
    """Hex, or "" where the source said none."""
    return file.mark.removeprefix("md5:") if file.mark.startswith("md5:") else ""


def time_of(file: RemoteFile) -> str:
    """In RFC 3339, or "" where the mark is a hash."""
    return file.mark.removeprefix("time:") if file.mark.startswith("time:") else ""


def can_be_named(name: str) -> bool:
    """Whether it can stand in a rule, on a line of its own."""
    return name == name.strip() and name.isprintable()


def renamed(file: RemoteFile, name: str) -> RemoteFile:
    return RemoteFile(name, file.size, file.mark, file.sha256, file.origin)


def of_version(source: str, files: Sequence[RemoteFile], version: str) -> tuple[RemoteFile, ...]:
    """Those at the top, and those in that version's folder: none where that has none. "" for all.

    Raises SourceError where it could be several. ``source``: what people call the artifact.
    """
    if not version:
        return tuple(files)
    folder = folder_with_files(version, [each.name for each in files], source)
    return tuple(each for each in files if belongs(each.name, folder)) if folder else ()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def of_folder(remote: Remote, files: Iterable[RemoteFile]) -> Listing:
    """``files``: as they are named below the address, in any order."""
    return Listing(
        tuple(
            RemoteFile(each.name, each.size, each.mark, each.sha256, f"{remote.path}/{each.name}")
            for each in sorted(files, key=lambda file: file.name)
        )
    )


def maybe_single(remote: Remote, files: tuple[RemoteFile, ...]) -> bool:
    """Whether it may be an object that was asked for; it may also be the only one in a folder of the same name."""
    return len(files) == 1 and files[0].name == remote.path.rpartition("/")[2]


def stat_arguments(remote: Remote) -> tuple[str, ...]:
    """They ask which of both it is: the answer says `IsDir`."""
    hashes = ("--hash",) if remote.kind in _HASHED else ()
    return (*_STAT, *hashes, f"{MAIN}:{remote.path}")


def folders_arguments(remote: Remote) -> tuple[str, ...]:
    """They ask for the folders at the top, a line for each, which ends in a slash."""
    return ("lsf", "--dirs-only", f"{MAIN}:{remote.path}")


def of_object(remote: Remote, file: RemoteFile) -> Listing:
    base = remote.path.rpartition("/")[2]
    whole = base.lower().endswith(ARCHIVES)
    return Listing((RemoteFile(base, file.size, file.mark, file.sha256, remote.path),), whole=whole)
