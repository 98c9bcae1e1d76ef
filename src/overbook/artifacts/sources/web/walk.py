"""Finds all files below a folder that is listed one folder at a time, and never more than is sensible."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.one_version import no_such_version
from overbook.artifacts.versions import folder_of

FILES: Final = 20_000
DEPTH: Final = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in a folder, or below it: ``name`` with slashes. ``size``: bytes, None where nobody says."""

    name: str
    folder: bool
    size: int | None = None


async def all_files(
    what: str, entries_of: Callable[[str], Awaitable[Iterable[Entry]]], version: str
) -> list[Entry]:
    """``what``: the folder, for messages. ``entries_of``: lists a folder below it, "" or a path that ends in a slash.
    ``version``: of the topmost folders this one alone, "" for all of them. Raises SourceError.
    """
    found: list[Entry] = []
    folders = [""]
    versions: list[str] = []
    wanted = ""
    above = 0
    for _ in range(DEPTH):
        deeper: list[str] = []
        for folder in folders:
            entries = list(await entries_of(folder))
            if version and not folder:
                versions = [each.name for each in entries if each.folder]
                wanted = folder_of(version, versions, what)
            for entry in entries:
                if not entry.folder:
                    found.append(Entry(folder + entry.name, False, entry.size))
                elif not version or folder or entry.name == wanted:
                    deeper.append(f"{folder}{entry.name}/")
            if len(found) + above + len(deeper) > FILES:
                raise SourceError(
                    Trouble.REFUSED,
                    f"{what}: more than {FILES} files and folders are listed: refused",
                )
        folders, above = deeper, above + len(deeper)
        if not folders:
            _require_some(what, found, version, versions)
            return found
    raise SourceError(
        Trouble.REFUSED, f"{what}: folders lie more than {DEPTH} deep, or in a circle: refused"
    )


def _require_some(what: str, found: list[Entry], version: str, versions: list[str]) -> None:
    if version and not any("/" in each.name for each in found):
        raise no_such_version(what, version, versions)
    if not found:
        raise SourceError(Trouble.NOT_FOUND, f"{what}: no files are listed there")
