"""Which names the files of an artifact may have, wherever they come from. Pure.

One rule for folders on this machine, archives and what remote sources list: a name that is allowed here is one file on
any file system, shows as what it is in any terminal, and lies inside the artifact.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.walk import MAX_ENTRIES
from overbook.manifests.problems import shown

# Bytes in UTF-8: of one part, as file systems have it, and of all parts together.
MAX_PART: Final = 255
MAX_NAME: Final = 1024
# Names that begin so are ours, as those of files that are not whole yet.
RESERVED: Final = ".overbook-"

# They turn the text around that follows: `exe.xnno` is shown as `onnx.exe`.
_TURNING: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE: Final = frozenset(("Cc", "Zl", "Zp"))


def refuse_names(names: Iterable[str], source: str) -> None:
    """Looks at all files that an artifact is to have, relative and with slashes; their folders count as entries, too.

    ``source``: what people call the artifact. Raises SourceError (REFUSED), which names the rule.
    """
    seen = Names(source)
    for name in names:
        seen.add(name)


class Names:
    """The names of one artifact as they come, of which none may be in the way of another.

    ``source``: what people call it. ``most``: entries, folders included, of which ``before`` are known to others.
    """

    def __init__(self, source: str, most: int = MAX_ENTRIES, before: int = 0) -> None:
        self._source = source
        self._most = most
        self._before = before
        self._folders: set[str] = {""}
        self._others: set[str] = set()
        # Each name as it is, by the name that a file system without case or normal form takes it for.
        self._spelled: dict[str, str] = {}

    def __len__(self) -> int:
        """How many entries there are, folders included."""
        return len(self._spelled)

    def has(self, name: str) -> bool:
        return name in self._others or name in self._folders

    def add(self, name: str, *, folder: bool = False) -> None:
        """A file or link, once, or a folder, as often as it comes. Raises SourceError."""
        if why := wrong_with(name):
            raise self._refused(name, why)
        if name in self._others:
            raise self._refused(
                name, "is both a file and a folder" if folder else "is there twice; expected once"
            )
        if not folder:
            if name in self._folders:
                raise self._refused(name, "is both a file and a folder")
            self._add_folders(name)
            self._spell(name)
            self._others.add(name)
        elif name not in self._folders:
            self._add_folders(name)
            self._spell(name)
            self._folders.add(name)

    def _add_folders(self, name: str) -> None:
        """Those that it lies in, the outermost first."""
        missing = []
        parent = name.rpartition("/")[0]
        while parent not in self._folders:
            if parent in self._others:
                raise self._refused(
                    name, f"lies in {shown(parent)}, which is a file or link; expected a folder"
                )
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        for each in reversed(missing):
            self._spell(each)
            self._folders.add(each)

    def _spell(self, name: str) -> None:
        if self._before + len(self._spelled) >= self._most:
            raise SourceError(
                Trouble.REFUSED,
                f"{self._source} has more than {self._most} entries; expected the files of one model",
            )
        other = self._spelled.setdefault(_folded(name), name)
        if other != name:
            raise self._refused(
                name,
                f"and {shown(other)} differ only in case or Unicode normal form; expected names that are two files on "
                "any file system",
            )

    def _refused(self, name: str, why: str) -> SourceError:
        return SourceError(Trouble.REFUSED, f"{self._source}: name {shown(name)} {why}")


def wrong_with(name: str) -> str:
    """The rule that a name breaks by itself, as the rest of a sentence; "" for none."""
    if not name:
        return "is empty; expected a file's name"
    if name.startswith("/"):
        return "is absolute; expected names relative to the artifact"
    if why := wrong_with_text(name):
        return why
    for part in name.split("/"):
        if why := _wrong_with_part(part):
            return why
    return ""


def wrong_with_text(name: str) -> str:
    """As `wrong_with`, wherever the name leads: what holds for the target of a link, too."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "is no valid UTF-8; expected text"
    if length > MAX_NAME:
        return f"has {length} bytes; expected {MAX_NAME} at most"
    if not (name.isascii() and name.isprintable()) and any(map(_misleads, name)):
        return "has a control character; expected characters that can be seen"
    if "\\" in name:
        return "has a backslash; expected slashes between folders, and none within a name"
    return ""


def _wrong_with_part(part: str) -> str:
    if not part:
        return "has an empty part; expected one slash between two parts, and none at the end"
    if part in (".", ".."):
        return f"has {part!r} in it; expected names that lead nowhere else"
    if len(part.encode()) > MAX_PART:
        return f"has a part of {len(part.encode())} bytes; expected {MAX_PART} at most"
    if part.casefold().startswith(RESERVED):
        return f"has a part that begins with {RESERVED}, which Overbook keeps for itself"
    return ""


def _misleads(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTABLE or character in _TURNING


def _folded(name: str) -> str:
    """The same for all names that some file system takes for one: canonical caseless matching, as Unicode has it.

    Compatibility forms (`x²` and `x2`) are two files everywhere, and stay so.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
