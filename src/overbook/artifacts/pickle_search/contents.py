"""Looks for pickles in one file: what it is itself, and what is in it where it is an archive or compressed.

By content alone: names say nothing. An archive that cannot be looked through, because it is too large, too deep,
encrypted, broken in its midst, or another one to other readers, counts as one that holds pickles: who means harm would
see to that. So does a compressed file that is damaged or cut off behind bytes that come out of it.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Final

from overbook.artifacts.compressed import (
    Decompressed,
    Readable,
    TooCostly,
    Undecodable,
    compression_of,
    decompressors,
)
from overbook.artifacts.errors import ArtifactError, SourceError
from overbook.artifacts.pickle_search import arrays, directories
from overbook.artifacts.pickle_search.programs import is_pickle
from overbook.artifacts.pickle_search.streams import Budget, Stream, TooMuch
from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.unpacking import tars, zips
from overbook.artifacts.walk import MAX_ENTRIES

# Bytes that come out of one file, however often it is packed.
_MOST: Final = 4 << 30
# Bytes of an archive within another, which is held in memory, and how deep they are looked into.
_MOST_NESTED: Final = 64 << 20
_DEEPEST: Final = 4
# joblib's own, before 0.10: two letters, then the length in hexadecimal. It packs nothing but pickles.
_OF_JOBLIB: Final = b"ZF"
_LENGTH_OF_JOBLIB: Final = slice(2, 21)
# lz4, which nothing here unpacks. So does it, in joblib.
_LZ4: Final = b"\x04\x22\x4d\x18"
# Texts may begin with zlib's magic, and so many bytes at most are made of them before one cannot go on.
_BY_CHANCE: Final = 256


def has_pickle(file: BinaryIO, check_stopped: CheckStopped) -> bool:
    """``file``: a real one, at its beginning. Raises OSError, and what ``check_stopped`` does."""
    size = os.fstat(file.fileno()).st_size
    looking = _Looking(Budget(_MOST, check_stopped))
    try:
        if looking.in_stream(looking.stream(file, size), _DEEPEST, file):
            return True
        # Other bytes may stand before a zip: its directory is at its end.
        file.seek(max(0, size - directories.END_MOST))
        if directories.END not in file.read(directories.END_MOST):
            return False
        return looking.in_zip(file, _DEEPEST, certain=False)
    except TooMuch:
        return True


class _Looking:
    """At one file and all that is in it. Its methods raise TooMuch, and OSError.

    ``depth``: how many archives may still lie in each other.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def stream(self, source: Readable, size: int | None = None) -> Stream:
        return Stream(source, self._budget, size)

    def in_stream(self, stream: Stream, depth: int, file: BinaryIO | None = None) -> bool:
        """``file``: the same bytes, where they are a file's. Raises ArtifactError for bytes that cannot be unpacked."""
        if is_pickle(stream):
            return True
        head = stream.head()
        if head.startswith(arrays.MAGIC):
            return arrays.holds_objects(head)
        if head.startswith(_LZ4) or _is_of_joblib(head):
            return True
        compression = compression_of(head)
        packed = compression in decompressors(0)
        # Zeros alone would be an empty one, but then they are rather somebody's weights.
        tar = any(head[: tars.BLOCK]) and tars.is_tar(head)
        zipped = head.startswith(zips.MAGICS)
        if not depth and (packed or tar or zipped):
            raise TooMuch
        return (
            (packed and self._in_compressed(stream, compression, depth - 1))
            or (tar and self._in_tar(stream, depth - 1))
            or (zipped and self.in_zip(file or self._whole(stream), depth - 1, certain=True))
        )

    def in_zip(self, file: BinaryIO, depth: int, *, certain: bool) -> bool:
        """``certain``: that it is meant to be one."""
        try:
            archive = zips.opened(file, "zip", MAX_ENTRIES)
        except SourceError:
            return True
        except ArtifactError:
            return certain
        # Where other bytes stand before a zip, its end tells of the directory as if they did not.
        if certain and directories.is_elsewhere(file, archive):
            return True
        try:
            return any(self._in_member(archive, info, depth) for info in archive.infolist())
        except ArtifactError:
            return True

    def _in_member(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, depth: int) -> bool:
        if zips.cannot_be_read(info):
            return True
        with zips.told("zip"), archive.open(info) as member:
            return self.in_stream(self.stream(member, info.file_size), depth)

    def _in_compressed(self, stream: Stream, compression: str, depth: int) -> bool:
        stream.rewind()
        decompressed = Decompressed(stream, compression, "file")
        try:
            # What stands behind may be a stream to others, and the pickle's next part.
            return self.in_stream(self.stream(decompressed), depth) or decompressed.followed
        except TooCostly:
            return True
        except Undecodable:
            # Else it only begins as if it were compressed. Of zlib's, all that came has been searched.
            return decompressed.came > (_BY_CHANCE if compression == "zlib" else 0)

    def _in_tar(self, stream: Stream, depth: int) -> bool:
        stream.rewind()
        try:
            for count, member in enumerate(tars.members(stream, "tar")):
                if count > MAX_ENTRIES:
                    return True
                if self.in_stream(self.stream(_Chunks(member.chunks)), depth):
                    return True
        except ArtifactError:
            return True
        return False

    @staticmethod
    def _whole(stream: Stream) -> BinaryIO:
        stream.rewind()
        data = stream.read(_MOST_NESTED + 1)
        if len(data) > _MOST_NESTED:
            raise TooMuch
        return io.BytesIO(data)


def _is_of_joblib(head: bytes) -> bool:
    if not head.startswith(_OF_JOBLIB):
        return False
    try:
        int(head[_LENGTH_OF_JOBLIB], 16)
    except ValueError:
        return False
    return True


class _Chunks:
    """Chunks as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        self._rest = self._rest or next(self._chunks, b"")
        part, self._rest = self._rest[:size], self._rest[size:]
        return part
