"""Where the links of an artifact may lead. Blocking.

A link inside the artifact stays a link. One that leads out of it is refused, as what it names may change or go while
the copy of the artifact stays; but for one kind: the cache of the Hugging Face Hub has each file in
`REPOSITORY/blobs`, named by its content, and `REPOSITORY/snapshots/REVISION` consists of links to there. Such a
file is taken in place of its link.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from overbook.artifacts.errors import ArtifactError

_SNAPSHOTS: Final = "snapshots"
_BLOBS: Final = "blobs"


class Links:
    """Of one artifact. ``source``: what people call it; ``root``: its folder, without any link in its path."""

    def __init__(self, source: Path, root: Path) -> None:
        self._source = source
        self._root = str(root)
        self._blobs = _blobs_of(root)

    def follow(self, name: str) -> str:
        """The absolute path to which the link ``name`` leads in the end. Raises ArtifactError, OSError."""
        path = os.path.join(self._root, name)
        try:
            # The kernel follows 40 links and no more; realpath would follow a chain of thousands.
            os.stat(path)
            real = os.path.realpath(path, strict=True)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{self._source}: link {name} points to {os.readlink(path)}, which does not exist"
            ) from error
        if not (self.inside(real) or self._is_blob(real)):
            raise ArtifactError(
                f"{self._source}: link {name} points outside the artifact, to {os.readlink(path)}; expected a link "
                "inside it, or the file itself, as in a copy that `cp -rL` makes"
            )
        return real

    def inside(self, real: str) -> bool:
        """Whether it is the artifact's own folder, or in there."""
        return _within(real, self._root)

    def _is_blob(self, real: str) -> bool:
        return (
            self._blobs is not None
            and os.path.dirname(real) == self._blobs
            and os.path.isfile(real)
        )


def _blobs_of(root: Path) -> str | None:
    """The folder with the contents of a snapshot, where ``root`` is one, or lies in one."""
    for folder in (root, *root.parents):
        if folder.parent.name == _SNAPSHOTS:
            blobs = folder.parent.parent / _BLOBS
            return str(blobs) if blobs.is_dir() and not blobs.is_symlink() else None
    return None


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}{os.sep}")
