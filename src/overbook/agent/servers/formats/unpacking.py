"""Looks into a compressed file: its first bytes, and how many there are in all. Bounded, whatever the file claims.

Where there are more than `MOST` the rest is taken to be packed as well as what was seen.
"""

from __future__ import annotations

import lzma
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.artifacts.compressed import decompressors

# Bytes that are unpacked, and bytes of the file that are read for that: a tenth of a second of zlib.
MOST: Final = 32 << 20
_CHUNK: Final = 8 << 10
_PART: Final = 1 << 20
# A dictionary beyond this is not made: a file may ask for 4 GiB of it.
_LZMA_MEMORY: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Unpacked:
    """``head``: the first bytes. ``bytes``: of all of it, exact or by proportion."""

    head: bytes
    bytes: int


def unpack(file: BinaryIO, compression: str, size: int, head: int) -> Unpacked:
    """``file``: at its beginning, ``size`` bytes long. ``head``: how many bytes to give back.

    Raises FormatError for what cannot be unpacked, OSError.
    """
    maker = decompressors(_LZMA_MEMORY).get(compression)
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
