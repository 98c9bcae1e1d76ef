"""Goes through all that lies below a folder, and no further than is sensible. Blocking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from overbook.artifacts.errors import ArtifactError

# A model is some files, not a home directory; past this the path is surely a mistake.
MAX_ENTRIES: Final = 20_000


class TooManyEntries(ArtifactError):
    """There is more below the folder than one model can have."""


def walk(root: str | os.PathLike[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every entry below ``root`` with its relative name (slashes), folders before what is in them.

    Links are entries and lead nowhere. Raises TooManyEntries, OSError.
    """
    folders, seen = [""], 0
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(root, folder)) as found:
            for entry in found:
                seen += 1
                if seen > MAX_ENTRIES:
                    raise TooManyEntries(
                        f"{os.fspath(root)!r} has more than {MAX_ENTRIES} entries; expected a folder with one model"
                    )
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                yield name, entry
