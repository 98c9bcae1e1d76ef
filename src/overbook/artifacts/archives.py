"""Unpacks the archive of an artifact, and the layers of an image, so that nothing in them can do harm.

What is in an archive was written by strangers. Nothing is made outside the folder, nothing but files, folders and
links that stay inside, and no more of it than the bounds allow, whatever the headers say. Which names are allowed is
decided in `names`; this is about artifacts, and not about environments, whose links may lead to this machine's Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overbook.artifacts.local import CheckStopped
from overbook.artifacts.walk import MAX_ENTRIES

__all__ = ["Bounds", "unpack", "unpack_layers"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """``bytes``: of all files together, unpacked. ``entries``: of files, folders and links together."""

    bytes: int
    entries: int = MAX_ENTRIES


def unpack(archive: Path, into: Path, bounds: Bounds, check_stopped: CheckStopped) -> None:
    """Unpacks a tar (also of gzip, bzip2 or xz) or a zip, by what it is and not by its name, into a folder that is new
    or empty. A single folder at its top is left out, unless its name is a number, as that of a version.

    ``check_stopped`` is called now and then; what it raises ends the work. Raises ArtifactError, which names the rule
    that the archive breaks, and OSError where the folder cannot be written; what is in the folder then is of no use.
    """
    raise NotImplementedError


def unpack_layers(
    layers: Sequence[Path],
    into: Path,
    bounds: Bounds,
    check_stopped: CheckStopped,
    *,
    below: str = "",
) -> None:
    """Unpacks the layers of an image, the lowest first, each over those before it: a later file takes the place of an
    earlier one, and what a layer marks as deleted (`.wh.NAME`, `.wh..wh..opq`) goes.

    ``below``: the folder of the image, as `models`, of which alone something is taken; it becomes ``into``, which is
    new or empty. What else is in the image need keep no rule. ``bounds`` are of what all layers write together. Absolute
    links are those of the image. No folder is left out. Raises as `unpack`, also where nothing is below.
    """
    raise NotImplementedError
