"""Unpacks the archive of an artifact, and the layers of an image, so that nothing in them can do harm.

What is in an archive was written by strangers. Nothing is made outside the folder, nothing but files, folders and
links that stay inside, and no more of it than the bounds allow, whatever the headers say. Which names are allowed is
decided in `names`; this is about artifacts, and not about environments, whose links may lead to this machine's Python.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from overbook.artifacts.compressed import Decompressed, compression_of
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.keeping import keep, open_regular
from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.unpacking import tars, zips
from overbook.artifacts.unpacking.counting import Count
from overbook.artifacts.unpacking.effort import Effort
from overbook.artifacts.unpacking.layers import Layers
from overbook.artifacts.unpacking.members import Member
from overbook.artifacts.unpacking.placing import Bounds, Place, Taker, TooManyBytes, put
from overbook.manifests.problems import shown

__all__ = ["Bounds", "TooManyBytes", "unpack", "unpack_layers", "unpacked_bytes"]


_OF_TARS: Final = ("gzip", "bz2", "xz", "lzma")
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_EXPECTED: Final = "expected a .tar, .tar.gz, .tar.bz2, .tar.xz or .zip"


def unpack(archive: Path, into: Path, bounds: Bounds, check_stopped: CheckStopped) -> None:
    """Unpacks a tar (also of gzip, bzip2 or xz) or a zip, by what it is and not by its name, into a folder that is new
    or empty. A single folder at its top is left out, unless its name is a number, as that of a version.

    ``check_stopped`` is called now and then; what it raises ends the work. Raises ArtifactError, which names the rule
    that the archive breaks, and OSError where the folder cannot be written; what is in the folder then is of no use.
    """
    source = shown(archive.name)
    effort = Effort(archive.stat().st_size, bounds.entries, check_stopped)
    place = Place(source, into, bounds, effort)
    _put_all(archive, bounds, effort, place)
    place.finish(lift=True)
    keep(into, check_stopped)


def unpacked_bytes(archive: Path, bounds: Bounds, check_stopped: CheckStopped) -> int:
    """How many bytes `unpack` would write at most: exactly those, but for a zip whose directory says more than there
    is. A file counts once for each hard link to it.

    All of a tar is decompressed for it; of a zip the directory suffices. Writes nothing, and raises as `unpack`:
    TooManyBytes as soon as a header says that it is more than the ``bounds`` allow.
    """
    source = shown(archive.name)
    effort = Effort(archive.stat().st_size, bounds.entries, check_stopped)
    count = Count(source, bounds, effort)
    _put_all(archive, bounds, effort, count)
    return count.bytes


def _put_all(archive: Path, bounds: Bounds, effort: Effort, taker: Taker) -> None:
    source = shown(archive.name)
    with open_regular(archive) as file:
        for member in _members(file, source, bounds.entries, effort):
            effort.member(source)
            # The folder itself is in many an archive.
            if member.name or member.kind != stat.S_IFDIR:
                put(taker, member)


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
    new or empty. What else is in the image need keep no rule. ``bounds`` are of what all layers write together.
    Absolute links are those of the image. No folder is left out. Raises as `unpack`, also where nothing is below.
    """
    source = f"folder {shown(below)} of the image" if below else "the image"
    packed = sum(layer.stat().st_size for layer in layers)
    effort = Effort(packed, bounds.entries, check_stopped)
    place = Place(source, into, bounds, effort)
    image = Layers(place, below)
    for layer in layers:
        with open_regular(layer) as file:
            name = f"layer {shown(layer.name)}"
            image.add(name, _members_of_tar(file, name, effort))
    place.source = source
    place.finish(lift=False)
    keep(into, check_stopped)


def _members(file: BinaryIO, source: str, entries: int, effort: Effort) -> Iterator[Member]:
    if file.read(len(zips.MAGICS[0])) in zips.MAGICS:
        return zips.members(file, source, entries, effort.step)
    return _members_of_tar(file, source, effort)


def _members_of_tar(file: BinaryIO, source: str, effort: Effort) -> Iterator[Member]:
    file.seek(0)
    head = file.read(tars.BLOCK)
    compression = compression_of(head)
    file.seek(0)
    if tars.is_tar(head):
        return tars.members(effort.unpacked_bytes(file, source), source)
    if compression not in _OF_TARS:
        compression = "zstd" if head.startswith(_ZSTD) else compression
        told = f"is compressed by {compression}" if compression else "is no archive"
        raise SourceError(Trouble.REFUSED, f"{source} {told}; {_EXPECTED}")
    packed = effort.packed_bytes(file)
    if not tars.is_tar(_head_of(Decompressed(packed, compression, source))):
        raise SourceError(
            Trouble.REFUSED, f"{source} is of {compression}, but holds no tar archive; {_EXPECTED}"
        )
    file.seek(0)
    stream = Decompressed(packed, compression, source)
    return tars.members(effort.unpacked_bytes(stream, source), source)


def _head_of(stream: Decompressed) -> bytes:
    head = b""
    while len(head) < tars.BLOCK and (part := stream.read(tars.BLOCK - len(head))):
        head += part
    return head
