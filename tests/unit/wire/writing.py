"""Protobuf messages by hand: well formed, and otherwise."""

from __future__ import annotations

_MASK = (1 << 64) - 1


def varint(value: int, spare: int = 0) -> bytes:
    """``spare``: bytes that it takes beyond what it needs. Of a negative number, as an int64."""
    value = value & _MASK if value < 0 else value
    made = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        made.append(low | (0x80 if value or spare else 0))
        if not value:
            break
    return bytes(made) + (b"\x80" * (spare - 1) + b"\x00" if spare else b"")


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    """A field that is a message, a string or bytes."""
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data
