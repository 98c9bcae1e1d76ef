"""Looks into a compressed file: its first bytes, and how many there are in all. Bounded, whatever the file claims.

Where there are more than `MOST` the rest is taken to be packed as well as what was seen.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from overbook.agent.servers.formats.errors import FormatError

# Bytes that are unpacked, and bytes of the file that are read for that: a tenth of a second of zlib.
MOST: Final = 32 << 20
_CHUNK: Final = 8 << 10
_PART: Final = 1 << 20
# A dictionary beyond this is not made: a file may ask for 4 GiB of it.
_LZMA_MEMORY: Final = 32 << 20
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


@dataclass(frozen=True, slots=True)
class Unpacked:
    """``head``: the first bytes. ``bytes``: of all of it, exact or by proportion."""

    head: bytes
    bytes: int


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Zlib:
    """zlib's object with the manners of the other two."""

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_MAKERS: Final[dict[str, Callable[[], _Decompressor]]] = {
    "zlib": lambda: _Zlib(zlib.MAX_WBITS),
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
}


def compression_of(head: bytes) -> str:
    """The name of what packed it, by its first bytes; "" for none that is known."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def unpack(file: BinaryIO, compression: str, size: int, head: int) -> Unpacked:
    """``file``: at its beginning, ``size`` bytes long. ``head``: how many bytes to give back.

    Raises FormatError for what cannot be unpacked, OSError.
    """
    maker = _MAKERS.get(compression)
    if maker is None:
        raise FormatError(f"nothing here unpacks {compression}")
    packed, first, found = maker(), b"", 0
    try:
        while not packed.eof and found < MOST and file.tell() < MOST:
            data = file.read(_CHUNK) if packed.needs_input else b""
            if not data and packed.needs_input:
                break
            part = packed.decompress(data, _PART)
            found += len(part)
            first += part[: head - len(first)]
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise FormatError(f"it cannot be unpacked: {error}") from error
    if not packed.eof and file.tell():
        found = max(found, found * size // file.tell())
    return Unpacked(first, found)
