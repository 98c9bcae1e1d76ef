"""Reads a zip, member by member, in bounded memory whatever its directory says. Blocking; writes nothing."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.names import MAX_NAME
from overbook.artifacts.stopping import CheckStopped, never
from overbook.artifacts.unpacking.members import Member, plain
from overbook.manifests.problems import shown

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNK: Final = 256 << 10
# Begins each entry of the directory.
_ENTRY: Final = b"PK\x01\x02"
_ENTRY_BYTES: Final = 46
# Bytes of the directory for one entry: a name of 1,024 bytes, and what is known of the file.
_MOST_ENTRY: Final = 2048
# Bytes of what is known besides, of all entries: zipfile copies the rest of it at each field.
_MOST_EXTRAS: Final = 64 << 10
_MEAN_EXTRA: Final = 256
# The end of the file, where the directory is told of: a comment of 64 KiB, and what is around it.
_MOST_END: Final = 128 << 10
# Encrypted; strongly encrypted; with a directory that is encrypted.
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_UNIX: Final = 3
# The others make megabytes of a few bytes at once, in memory.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, ArithmeticError),
    *(NotImplementedError, RuntimeError, LookupError, struct.error),
)


def members(
    file: BinaryIO, source: str, entries: int, check_stopped: CheckStopped
) -> Iterator[Member]:
    """All members in the order of the directory. Raises ArtifactError, OSError.

    ``source``: what people call the archive. ``entries``: with more it is refused before the directory is parsed.
    ``check_stopped``: what it raises ends the work.
    """
    archive = opened(file, source, entries, check_stopped)
    with told(source):
        for info in archive.infolist():
            yield _member(archive, info, source)


def opened(
    file: BinaryIO, source: str, entries: int, check_stopped: CheckStopped = never
) -> zipfile.ZipFile:
    """With its directory read and no more. Parameters and errors as of `members`."""
    with told(source):
        bounded = _Bounded(file, source, entries, check_stopped)
        archive = zipfile.ZipFile(bounded, metadata_encoding="utf-8")
        bounded.opened = True
        length = bounded.seek(0, os.SEEK_END)
    if sum(info.compress_size for info in archive.infolist()) > length:
        # Else each of a thousand entries could be all of the file.
        raise SourceError(
            Trouble.REFUSED,
            f"{source} has files that lie over each other; expected each with bytes of its own",
        )
    return archive


def cannot_be_read(info: zipfile.ZipInfo) -> str:
    """Why a file in a zip is out of reach, as the rest of a sentence; "" for one that can be read in bounded memory."""
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted; expected an archive without a password"
    if info.compress_type not in _METHODS:
        return f"is compressed by method {info.compress_type}; expected a zip of stored or deflated files"
    return ""


@contextmanager
def told(source: str) -> Iterator[None]:
    """What zipfile raises for a zip that is none is told as what it is."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise SourceError(
            Trouble.REFUSED, f"{source}: a name in it is no valid UTF-8; expected text"
        ) from error
    except _BROKEN as error:
        why = shown(str(error))
        raise ArtifactError(f"{source} is damaged ({why}); expected a whole zip archive") from error


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> Member:
    # What stands behind a zero byte is left out of the other one.
    name = info.orig_filename

    def refused(why: str) -> SourceError:
        return SourceError(Trouble.REFUSED, f"{source}: {shown(name)} {why}")

    if why := cannot_be_read(info):
        raise refused(why)
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    if name.endswith("/"):
        return Member(plain(name, folder=True), stat.S_IFDIR, "", iter(()))
    name = plain(name, folder=False)
    if kind == stat.S_IFDIR:
        raise refused("is a folder with a file's name; expected a slash at its end")
    if kind == stat.S_IFLNK:
        target = b"".join(_chunks(archive, info, source, MAX_NAME + 1))
        return Member(name, kind, target.decode("utf-8", "surrogateescape"), iter(()))
    # zipfile gives no more than the directory says.
    return Member(name, kind or stat.S_IFREG, "", _chunks(archive, info, source), info.file_size)


def _chunks(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str, most: int | None = None
) -> Iterator[bytes]:
    with told(source), archive.open(info) as file:
        left = most
        while (left is None or left > 0) and (part := file.read(min(_CHUNK, left or _CHUNK))):
            left = None if left is None else left - len(part)
            yield part


class _Bounded:
    """The file as zipfile reads it: the directory in one go, which is looked at before anything is made of it.

    ``opened``: the directory has been read.
    """

    def __init__(
        self, file: BinaryIO, source: str, entries: int, check_stopped: CheckStopped
    ) -> None:
        self._file = file
        self._source = source
        self._entries = entries
        self._check_stopped = check_stopped
        self.opened = False

    def read(self, size: int = -1) -> bytes:
        self._check_stopped()
        if self.opened:
            return self._file.read(size)
        if size < 0:
            return self._file.read(_MOST_END)
        if size > _MOST_END + self._entries * _MOST_ENTRY:
            raise self._refused()
        data = self._file.read(size)
        if data.count(_ENTRY) > self._entries:
            raise self._refused()
        self._require_extras(data)
        return data

    def _refused(self) -> SourceError:
        return SourceError(
            Trouble.REFUSED,
            f"{self._source} has more than {self._entries} entries; expected the files of one model",
        )

    def _require_extras(self, directory: bytes) -> None:
        at = extras = count = 0
        while len(directory) - at >= _ENTRY_BYTES and directory.startswith(_ENTRY, at):
            name, extra, comment = struct.unpack_from("<3H", directory, at + 28)
            at += _ENTRY_BYTES + name + extra + comment
            extras += extra
            count += 1
        if extras > _MOST_EXTRAS + count * _MEAN_EXTRA:
            raise SourceError(
                Trouble.REFUSED,
                f"{self._source} has a directory with {extras} bytes of extra fields for {count} entries; expected an "
                "archive as `zip` makes it",
            )

    def seek(self, position: int, whence: int = 0) -> int:
        if not whence and position < 0:
            raise zipfile.BadZipFile("a file in it lies before its beginning")
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
