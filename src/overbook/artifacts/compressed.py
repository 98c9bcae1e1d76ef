"""Reads compressed bytes one after the other, in bounded memory whatever they claim to be. Blocking.

How many bytes may come out is the reader's own affair: it counts what it reads.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from overbook.artifacts.errors import ArtifactError

# Bytes of the file that are read at once, and bytes that are made of them at once.
_CHUNK: Final = 64 << 10
# Bytes that a new stream is given first, then twice as many, and so on: what it leaves over is copied by its
# decompressor, which for a million short streams would be a million times a chunk.
_FIRST: Final = 512
# Streams that one file may have: so many, and one more for so many bytes that came out.
_FREE_STREAMS: Final = 10_000
_STREAM_BYTES: Final = 512
_PART: Final = 256 << 10
# A dictionary beyond this is not made: a file may ask for 4 GiB of it. `xz -9` asks for 64 MiB.
_LZMA_MEMORY: Final = 96 << 20
# As the standard library says it; it has no error of its own.
_MEMORY: Final = "Memory usage limit"
_MAGIC: Final = {
    b"\x78\x01": "zlib",
    b"\x78\x5e": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ": "xz",
    b"\x5d\x00": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
}


class Undecodable(ArtifactError):
    """Compressed bytes that are damaged, or cut off, or need more memory than they may have."""


class TooCostly(Undecodable):
    """More memory or work than they may have is needed: nobody knows what is in there."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Some bytes, at most as many; none at the end."""
        ...


class Decompressor(Protocol):
    """As those of the standard library are, of which zlib's alone has other manners."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's object with the manners of the other two. What comes before damaged bytes is given, too: others who read
    in smaller steps would get it.
    """

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)
        self._damage: zlib.error | None = None

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._damage is None and not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
        if self._damage is not None:
            raise self._damage
        data = self._inner.unconsumed_tail + data
        before = self._inner.copy()
        try:
            return self._inner.decompress(data, max_length)
        except zlib.error as error:
            self._inner, self._damage = before, error
        if part := self._up_to_the_damage(data):
            return part
        raise self._damage

    def _up_to_the_damage(self, data: bytes) -> bytes:
        """Byte by byte, as any longer step that meets the damage gives nothing."""
        came = bytearray()
        try:
            for each in data:
                part = self._inner.decompress(bytes((each,)), 1)
                while part:
                    came += part
                    part = self._inner.decompress(self._inner.unconsumed_tail, 1)
        except zlib.error:
            pass
        return bytes(came)


def decompressors(lzma_memory: int) -> dict[str, Callable[[], Decompressor]]:
    """What makes one, by the name of the compression. ``lzma_memory``: bytes that LZMA's may use."""
    return {
        "zlib": lambda: _Zlib(zlib.MAX_WBITS),
        "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
        "bz2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(memlimit=lzma_memory),
        "lzma": lambda: lzma.LZMADecompressor(memlimit=lzma_memory),
    }


def compression_of(head: bytes) -> str:
    """The name of what packed it, by its first bytes; "" for none that is known."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


class Decompressed:
    """What is in a compressed file, from its beginning, with all streams that follow the first, as `pigz` and `pbzip2`
    write them. ``compression``: one of `decompressors`. ``source``: begins the message of a failure.

    ``came``: bytes that were read. ``followed``: once all were, whether something stands behind the last stream that
    Python's `lzma` may take for one more of its own.
    """

    def __init__(self, file: Readable, compression: str, source: str) -> None:
        self._file = file
        self._compression = compression
        self._make = decompressors(_LZMA_MEMORY)[compression]
        self._inner = self._make()
        self._source = source
        self._ended = False
        # Read, and given to the decompressor up to `_at`; how many bytes it is given next.
        self._read = memoryview(b"")
        self._at = 0
        self._give = _FIRST
        self._streams = 1
        self.came = 0
        self.followed = False

    def read(self, most: int) -> bytes:
        """Some bytes, ``most`` of them at most; none at the end. Raises Undecodable, OSError."""
        while not self._ended:
            if self._inner.eof and not self._next_stream():
                break
            wanted = self._inner.needs_input
            data = self._next_input() if wanted else memoryview(b"")
            # One byte first: bytes that are not compressed at all are told by none that came.
            if part := self._unpack(data, min(most, _PART if self.came else 1)):
                self.came += len(part)
                return part
            if wanted and not data and not self._inner.eof:
                raise Undecodable(f"{self._source} ends too early; expected a whole file")
        return b""

    def _next_stream(self) -> bool:
        """Whether one follows. Zeros may fill the file up after the last one; what else comes is none of ours."""
        self._at -= len(self._inner.unused_data)
        self._pass_zeros()
        # What is too short to be told by its magic is joined with what follows.
        if 0 < len(self._read) - self._at < 8:
            self._set(bytes(self._read[self._at :]) + self._file.read(_CHUNK))
        follows = compression_of(bytes(self._read[self._at : self._at + 8]))
        # The standard library goes on with either of the two.
        either = {follows, self._compression} == {"xz", "lzma"}
        if follows != self._compression and not either:
            self.followed = self._compression in ("xz", "lzma") and self._at < len(self._read)
            self._ended = True
            return False
        self._streams += 1
        if self._streams > _FREE_STREAMS + self.came // _STREAM_BYTES:
            raise TooCostly(
                f"{self._source} has {self._streams} streams of {self._compression} with {self.came} bytes in them; "
                "expected it packed in one"
            )
        self._inner = self._make()
        self._give = _FIRST
        return True

    def _pass_zeros(self) -> None:
        step = _FIRST
        while self._at < len(self._read) or self._fill():
            part = bytes(self._read[self._at : self._at + step])
            rest = len(part.lstrip(b"\0"))
            self._at += len(part) - rest
            if rest:
                return
            step = min(2 * step, _CHUNK)

    def _next_input(self) -> memoryview:
        if self._at == len(self._read):
            self._fill()
        data = self._read[self._at : self._at + self._give]
        self._at += len(data)
        self._give = min(2 * self._give, _CHUNK)
        return data

    def _fill(self) -> bool:
        """Whether there is more of the file."""
        self._set(self._file.read(_CHUNK))
        return bool(self._read)

    def _set(self, data: bytes) -> None:
        self._read, self._at = memoryview(data), 0

    def _unpack(self, data: memoryview, most: int) -> bytes:
        try:
            return self._inner.decompress(data, most)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
            kind = TooCostly if _MEMORY in str(error) else Undecodable
            raise kind(
                f"{self._source} cannot be unpacked ({self._compression}: {error}); expected a whole file"
            ) from error
