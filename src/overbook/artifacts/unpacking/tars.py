"""Reads a tar, member by member, in bounded memory whatever its headers say. Blocking; writes nothing.

tarfile parses the headers. It reads what a header announces into memory at once, and takes an archive that was cut off
between two members for a whole one: so it reads through `_Guarded`, which bounds the first and sees the second.
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from typing import Final

from overbook.artifacts.compressed import Readable, Undecodable
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.unpacking.members import HARD_LINK, Member, plain
from overbook.artifacts.unpacking.pax import records_in
from overbook.manifests.problems import shown

BLOCK: Final = 512
_CHUNK: Final = 256 << 10
# Bytes of the headers of one member, and of all members on average: names of 1,024 bytes and attributes fit well.
_MOST_HEADER: Final = 256 << 10
_MEAN_HEADER: Final = 8 << 10
# Of extended headers, records in the same way. Each is a step of tarfile's.
_MOST_RECORDS: Final = 1000
_MEAN_RECORDS: Final = 32
# Headers for all members are gone through at each of them: bytes, and how many. `git archive` writes one.
_MOST_GLOBAL: Final = 8 << 10
_MOST_GLOBALS: Final = 32
_EXTENDED: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
# Bytes after the end that fill up the last record; `tar` writes up to 10 KiB, or what --blocking-factor says.
_MOST_PADDING: Final = 16 << 20
_BROKEN: Final = (
    *(tarfile.TarError, EOFError, ValueError, ArithmeticError, RecursionError, LookupError),
)


def is_tar(head: bytes) -> bool:
    """``head``: the first 512 bytes or more."""
    if head[:BLOCK] == bytes(BLOCK):
        return True  # an empty one
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, ArithmeticError):
        return False
    return True


def members(stream: Readable, source: str) -> Iterator[Member]:
    """All members in their order. ``source``: what people call the archive. Raises ArtifactError, OSError."""
    guarded = _Guarded(stream, source)
    try:
        archive = tarfile.TarFile(
            fileobj=guarded,  # type: ignore[arg-type]  # it reads, seeks forward and tells; no more is asked of it
            mode="r",
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (member := _next(archive, guarded)) is not None:
            yield _member(member, guarded, source)
    except _BROKEN as error:
        why = shown(str(error))
        raise ArtifactError(f"{source} is damaged ({why}); expected a whole tar archive") from error
    guarded.require_end()


def _next(archive: tarfile.TarFile, guarded: _Guarded) -> tarfile.TarInfo | None:
    guarded.begin_header()
    member = archive.next()
    guarded.end_header()
    # It would keep all of them.
    archive.members.clear()  # type: ignore[attr-defined]
    globals_ = archive.pax_headers
    if len(globals_) > _MOST_GLOBALS:
        raise guarded.refused("more than 32 headers for all members")
    if sum(len(key) + len(value) for key, value in globals_.items()) > _MOST_GLOBAL:
        raise guarded.refused("headers for all members that have more than 8 KiB")
    return member


def _member(member: tarfile.TarInfo, guarded: _Guarded, source: str) -> Member:
    name = plain(member.name, folder=member.isdir())
    if member.issparse() or any(key.startswith("GNU.sparse") for key in member.pax_headers):
        raise SourceError(
            Trouble.REFUSED,
            f"{source}: {shown(name)} is a sparse file of tar; expected one that is packed with all its bytes "
            "(without --sparse)",
        )
    kind = _kind(member)
    size = member.size if kind == stat.S_IFREG else 0
    return Member(name, kind, member.linkname, guarded.chunks(size), size)


def _kind(member: tarfile.TarInfo) -> int:
    if member.isreg():
        return stat.S_IFREG
    if member.isdir():
        return stat.S_IFDIR
    if member.issym():
        return stat.S_IFLNK
    if member.islnk():
        return HARD_LINK
    return stat.S_IFIFO if member.isfifo() else stat.S_IFCHR


class _Guarded:
    """A stream that only goes forward, and knows whether tarfile reads a header or whoever asks for a file's bytes."""

    def __init__(self, stream: Readable, source: str) -> None:
        self._stream = stream
        self._source = source
        self._at = 0
        self._header_at = 0
        self._headers = 0
        self._count = 0
        self._records = 0
        # What was read last, and whether that begins an extended header.
        self._last = b""
        self._extended = False
        self._in_header = True

    def begin_header(self) -> None:
        self._in_header, self._header_at = True, self._at

    def end_header(self) -> None:
        self._in_header = False
        self._count += 1
        self._headers += self._at - self._header_at
        if self._headers > _MOST_HEADER + self._count * _MEAN_HEADER:
            raise self.refused("headers of more than 8 KiB for each member")

    def refused(self, what: str) -> SourceError:
        return SourceError(
            Trouble.REFUSED,
            f"{self._source} has {what}; expected an archive as `tar` makes it",
        )

    def read(self, size: int) -> bytes:
        """All of it, or less at the end of the stream."""
        if self._in_header and self._at + size - self._header_at > _MOST_HEADER:
            raise self.refused("a header of more than 256 KiB")
        self._last = b"".join(self._parts(size))
        if self._extended:
            self._records += records_in(self._last)
            if self._records > _MOST_RECORDS + self._count * _MEAN_RECORDS:
                raise self.refused("more than 32 records in the header of each member")
        # The payload of one is read in one go, after its block.
        self._extended = self._in_header and not self._extended and self._last[156:157] in _EXTENDED
        return self._last

    def tell(self) -> int:
        return self._at

    def seek(self, position: int) -> None:
        """Forward. What is passed over is no header."""
        if position < self._at:
            raise tarfile.ReadError("a member that leads back")
        passed = 0
        for part in self._parts(position - self._at):
            passed += len(part)
        self._header_at += passed

    def chunks(self, size: int) -> Iterator[bytes]:
        """The next bytes, which must be there."""
        left = size
        while left:
            part = self._read_some(min(left, _CHUNK))
            if not part:
                raise Undecodable(f"{self._source} ends too early; expected a whole tar archive")
            left -= len(part)
            yield part

    def require_end(self) -> None:
        """That two blocks of zeros end the archive, one of which tarfile has read, and the stream not long after."""
        if self._last != bytes(BLOCK):
            raise Undecodable(f"{self._source} ends too early; expected a whole tar archive")
        passed = 0
        while part := self._read_some(_CHUNK):
            passed += len(part)
            if passed > _MOST_PADDING:
                raise self.refused("more than 16 MiB after its end")

    def _parts(self, size: int) -> Iterator[bytes]:
        while size > 0 and (part := self._read_some(min(size, _CHUNK))):
            size -= len(part)
            yield part

    def _read_some(self, most: int) -> bytes:
        part = self._stream.read(most)
        self._at += len(part)
        return part
