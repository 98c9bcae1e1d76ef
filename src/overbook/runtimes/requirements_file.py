"""Reads a requirements file, with those that it includes, into lines that mean the same wherever they stand.

Paths in them start at the folder of the file that names them, and become absolute; files that are included stand in
their places, and lines that go on are joined. So an environment can be named by all that it is made of, and what is
wrong is told by file and line before uv is asked. Installs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from overbook.runtimes.recipe import UnusableRequirement

# Of one file, and of all that it includes.
_MOST_BYTES: Final = 1 << 20
MOST_FILES: Final = 32
_PART: Final = 1 << 20
_EXPECTED: Final = "expected requirements as pip reads them, a line each"
_OPTION: Final = re.compile(r"(--?[A-Za-z][\w-]*)(?:\s*=\s*|\s+|$)(.*)")
_SHORT: Final = re.compile(r"(-[a-zA-Z])(\S.*)")
_SCHEME: Final = re.compile(r"(?:[a-z][a-z0-9]*\+)?[a-z][a-z0-9]+:", re.IGNORECASE)
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
# What may follow a path or an address: extras, a marker, hashes.
_TAIL: Final = re.compile(r"(\[[^\]]*\])?(\s+;.*|\s+--.*)?$")
_ARCHIVES: Final = (".whl", ".tar.gz", ".zip", ".tar.bz2")
_INCLUDES: Final = {"-r": False, "--requirement": False, "-c": True, "--constraint": True}
_FOLDERS: Final = ("-f", "--find-links")
# Where packages come from: it is said again when those that were chosen are installed.
_SOURCES: Final = (
    *("-i", "--index-url", "--extra-index-url", "--no-index", *_FOLDERS),
    *("--no-binary", "--only-binary"),
)


@dataclass(slots=True)
class Requirements:
    """``lines``: all but the ``sources``, which say where packages come from, and the ``constraints``.

    ``names``: of the packages that are asked for, as far as the file says so. ``files``: all that were read;
    ``archives``: packages that are named by their paths.
    """

    lines: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    archives: list[Path] = field(default_factory=list)


def read(path: Path) -> Requirements:
    """Of the file and all that it includes. Raises UnusableRequirement, and OSError for the file itself."""
    found = Requirements()
    _Reader(found).read(path, into=found.lines)
    return found


def files_behind(path: Path) -> tuple[Path, ...]:
    """The file, and all that it includes or names on this machine: as far as it can be read."""
    found = Requirements()
    with contextlib.suppress(UnusableRequirement, OSError):
        _Reader(found).read(path, into=found.lines)
    return (*found.files, *found.archives)


def content(found: Requirements, check: Callable[[], None]) -> bytes:
    """What an environment with these requirements is made of. ``check``: called now and then. Raises OSError."""
    digest = hashlib.sha256()
    for archive in found.archives:
        with archive.open("rb") as file:
            while part := file.read(_PART):
                check()
                digest.update(part)
        digest.update(b"\0")
    kinds = (found.lines, found.sources, found.constraints)
    return b"\0".join("\n".join(each).encode() for each in kinds) + digest.digest()


class _Placed(UnusableRequirement):
    """Its message says file and line."""


class _Reader:
    def __init__(self, found: Requirements) -> None:
        self._found = found
        self._bytes = 0

    def read(self, path: Path, into: list[str]) -> None:
        """Raises UnusableRequirement, OSError."""
        self._found.files.append(path)
        if len(self._found.files) > MOST_FILES:
            raise _Placed(
                f"{path} is one of more than {MOST_FILES} requirements files; expected at most as many, of which none "
                "includes itself"
            )
        for number, line in _lines(self._text(path)):
            try:
                self._take(line, path, into)
            except _Placed:
                raise
            except UnusableRequirement as error:
                raise _Placed(f"{path}, line {number}: {error}") from error

    def _text(self, path: Path) -> str:
        raw = _read_whole(path, _MOST_BYTES - self._bytes)
        self._bytes += len(raw)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise _Placed(
                f"{path}, line {line}: this is not UTF-8; save the file as UTF-8"
            ) from error
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            raise _Placed(f"{path}, line {line}: this is not text; {_EXPECTED}")
        return text

    def _take(self, line: str, path: Path, into: list[str]) -> None:
        if not line.startswith("-"):
            into.append(self._requirement(line, path.parent, asked=into is self._found.lines))
            return
        parts = _SHORT.fullmatch(line) if line[1] != "-" else None
        option = parts or _OPTION.fullmatch(line)
        if option is None:
            raise UnusableRequirement(
                f"{_short(line)} is neither an option nor a requirement; {_EXPECTED}"
            )
        name, value = option[1], option[2].strip().strip("'\"")
        if name in ("-e", "--editable"):
            raise UnusableRequirement(
                f"{_short(line)} asks for code that may change later; make a wheel of it and name that"
            )
        if name in _INCLUDES:
            self._include(value, path, self._found.constraints if _INCLUDES[name] else into)
        elif name in _SOURCES:
            if name in _FOLDERS and not _SCHEME.match(value):
                value = str(_absolute(value, path.parent))
            self._found.sources.append(f"{name} {value}".strip())
        else:
            self._found.lines.append(line)

    def _include(self, value: str, path: Path, into: list[str]) -> None:
        if _SCHEME.match(value):
            raise UnusableRequirement(
                f"{_short(value)} is not on this machine, and may change; download it and name the file"
            )
        other = _absolute(value, path.parent)
        try:
            self.read(other, into)
        except OSError as error:
            raise UnusableRequirement(
                f"{other} cannot be read: {error.strerror or error}"
            ) from error

    def _requirement(self, line: str, folder: Path, *, asked: bool) -> str:
        """The line as it means the same elsewhere."""
        try:
            requirement = Requirement(line.split(" --")[0])
        except InvalidRequirement as error:
            return self._address(line, folder, error, asked=asked)
        if asked:
            self._found.names.add(canonicalize_name(requirement.name))
        if requirement.url is None:
            return line
        return line.replace(requirement.url, self._located(requirement.url, folder), 1)

    def _address(self, line: str, folder: Path, error: Exception, *, asked: bool) -> str:
        tail = _TAIL.search(line)
        address = line[: tail.start()].strip() if tail else line
        place = urlsplit(address).path if _SCHEME.match(address) else address
        if not (_SCHEME.match(address) or "/" in place or place.endswith(_ARCHIVES)):
            raise UnusableRequirement(
                f"{_short(line)} is not a requirement; expected NAME and versions, such as scikit-learn==1.6.1"
            ) from error
        if asked and place.endswith(".whl"):
            try:
                name, *_ = parse_wheel_filename(unquote(place.rpartition("/")[2]))
            except InvalidWheelFilename as wrong:
                raise UnusableRequirement(f"{_short(line)} does not have a wheel's name") from wrong
            self._found.names.add(name)
        return self._located(address, folder) + line[len(address) :]

    def _located(self, address: str, folder: Path) -> str:
        """An address, or an absolute path. Archives on this machine are noted down."""
        if not _SCHEME.match(address):
            place = _absolute(address, folder)
            told = str(place)
        elif address.startswith("file:"):
            place = Path(unquote(urlsplit(address).path))
            told = address
        else:
            return address
        if "$" in told:
            return told  # a variable, which uv knows
        if not place.is_dir():
            self._found.archives.append(place)
        if not place.exists():
            raise UnusableRequirement(
                f"{place} does not exist; expected a wheel, or a package's folder"
            )
        return told


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each with the number of its first; without comments and empty ones."""
    begun, number = "", 0
    for at, each in enumerate(text.splitlines(), 1):
        number = number if begun else at
        bare = _COMMENT.sub("", each).rstrip()
        if bare.endswith("\\"):
            begun += bare[:-1] + " "
            continue
        if line := (begun + bare).strip():
            yield number, line
        begun = ""
    if begun.strip():
        yield number, begun.strip()


def _read_whole(path: Path, most: int) -> bytes:
    # A pipe without a writer would be waited for, and a device never ends.
    with open(os.open(str(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _Placed(f"{path} is not a file; {_EXPECTED}")
        raw = file.read(most + 1)
    if len(raw) > most:
        raise _Placed(f"{path} is too long; expected requirements files of 1 MiB together at most")
    return raw


def _absolute(path: str, folder: Path) -> Path:
    if "$" in path.partition("/")[0]:
        return Path(path)
    return Path(os.path.abspath(folder / path))


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:76]!r}..."
