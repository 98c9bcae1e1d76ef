"""Pure: what is compressed, inflated as far as is accepted and no further.

A few kilobytes may stand for gigabytes: whoever inflates here never makes more of them than a limit allows, whatever
they are. Nothing here knows of requests.
"""

from __future__ import annotations

import zlib
from typing import Final

# Window bits of zlib: gzip or zlib, whichever begins there; and neither's frame.
_EITHER: Final = zlib.MAX_WBITS | 32
_BARE: Final = -zlib.MAX_WBITS
_GZIP: Final = b"\x1f\x8b"
# Bytes that are made at a time.
_PIECE: Final = 1024 * 1024
# Streams behind one another that are still one body; tools that compress in blocks make hundreds of them.
_MOST_STREAMS: Final = 10_000


class InflatesToMore(Exception):
    """It would be larger than is accepted."""


def inflated(message: bytes, most: int) -> bytes:
    """A message of gRPC that may be compressed, as it was before that.

    What is no whole stream stays as it is, for whoever reads it to complain. Raises InflatesToMore.
    """
    if not is_compressed(message):
        return message
    inflating = zlib.decompressobj(_EITHER)
    # In pieces: in one go zlib would hold it twice before its length is known.
    pieces: list[bytes] = []
    left, rest = most, message
    while rest:
        try:
            pieces.append(inflating.decompress(rest, _PIECE))
        except zlib.error:
            return message
        left -= len(pieces[-1])
        if left < 0:
            raise InflatesToMore
        rest = inflating.unconsumed_tail
    return b"".join(pieces) if inflating.eof and not inflating.unused_data else message


def is_compressed(message: bytes) -> bool:
    """Whether it begins as what gRPC compresses.

    No message of protobuf begins as gzip does, and none of the protocol's as zlib does.
    """
    head = int.from_bytes(message[:2], "big")
    return message[:2] == _GZIP or (head >> 8 & 0x0F == zlib.DEFLATED and head % 31 == 0)


class InflatedSize:
    """Counts what a body becomes when it is inflated, a chunk after the other, and keeps nothing of it.

    Which coding it is does not matter: servers differ in what they take for which name. A body that is not compressed
    counts as nothing, as it becomes nothing.
    """

    def __init__(self, most: int) -> None:
        self._readings = [_Reading(bits, most) for bits in (_EITHER, _BARE)]

    def add(self, chunk: bytes) -> None:
        """Raises InflatesToMore."""
        for reading in self._readings:
            reading.add(chunk)


class _Reading:
    """One way to read the body. It ends where that makes no sense."""

    def __init__(self, bits: int, most: int) -> None:
        self._bits = bits
        self._left = most
        self._streams = 1
        self._inflating = zlib.decompressobj(bits)
        self._ended = False

    def add(self, chunk: bytes) -> None:
        while chunk and not self._ended:
            if self._inflating.eof:
                self._begin_stream()
            try:
                self._left -= len(self._inflating.decompress(chunk, _PIECE))
            except zlib.error:
                self._ended = True
                return
            if self._left < 0:
                raise InflatesToMore
            chunk = self._inflating.unconsumed_tail or self._inflating.unused_data

    def _begin_stream(self) -> None:
        self._streams += 1
        if self._streams > _MOST_STREAMS:
            raise InflatesToMore
        self._inflating = zlib.decompressobj(self._bits)
