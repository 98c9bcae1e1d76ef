"""Which runtime a model's files are made for, as far as their names tell.

Weights alone tell nothing: an ONNX file is read by several. What a server is told beside them does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from overbook.artifacts.walk import walk
from overbook.runtimes.server_kinds import SERVER_KINDS


def made_for(names: Iterable[str]) -> str:
    """The runtime, or "" when the names (relative paths) point to none or to several."""
    every = tuple(names)
    found = [
        name
        for name, kind in SERVER_KINDS.items()
        if any(kind.sign.fullmatch(each) for each in every)
    ]
    return found[0] if len(found) == 1 else ""


def made_for_in(folder: Path) -> str:
    """The same, of the files in a folder. Blocking. Raises ArtifactError, OSError."""
    return made_for(name for name, entry in walk(folder) if not entry.is_dir(follow_symlinks=False))
