"""Walks the fields of a protobuf message without its schema, and without touching the bytes of what is skipped.

Model files carry gigabytes of weights between the few fields that describe them. A file is mapped, a field is a
slice of the map, and only what is looked at is read from the disk.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import open_file

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_FIXED_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_MAX_VARINT_BYTES: Final = 10
_SIGN_BIT: Final = 1 << 63

# Of one file: some seconds of reading.
MOST_FIELDS: Final = 2_000_000

Field = tuple[int, int | memoryview]


def mapped(path: Path) -> memoryview:
    """The file's content; unmapped when the last slice of it is gone. Raises OSError, FormatError when empty."""
    with open_file(path) as file:
        if file.seek(0, 2) == 0:
            raise FormatError("the file is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@dataclass(slots=True)
class Walk:
    """A walk through one file. ``left``: fields that may still be looked at, as a file may be made of nothing else."""

    left: int = MOST_FIELDS

    def fields(self, message: memoryview) -> Iterator[Field]:
        """As `fields`, of any message in the file. Raises FormatError when there are too many in all."""
        for field in fields(message):
            self.left -= 1
            if self.left < 0:
                raise FormatError("it has more fields than any model")
            yield field

    def messages(self, message: memoryview, number: int) -> Iterator[memoryview]:
        """The values of a repeated field that are messages or strings. Raises FormatError."""
        for found, value in self.fields(message):
            if found == number and isinstance(value, memoryview):
                yield value

    def entry(self, value: memoryview) -> tuple[str, memoryview]:
        """Key and value of one entry of a map from strings to messages. Raises FormatError."""
        key, content = "", memoryview(b"")
        for number, part in self.fields(value):
            if number == 1:
                key = text(part)
            elif number == 2 and isinstance(part, memoryview):
                content = part
        return key, content


def fields(message: memoryview) -> Iterator[Field]:
    """Field numbers and values: whole numbers, or slices of ``message``. Raises FormatError."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise FormatError(f"no field has the number 0 (at byte {position})")
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise FormatError(
                f"field {number} has the unknown wire type {kind} (at byte {position})"
            )
        if position + size > end:
            raise FormatError(
                f"field {number} ends {position + size - end} bytes after its message"
            )
        yield number, message[position : position + size]
        position += size


def text(value: int | memoryview) -> str:
    """A string field's content. Raises FormatError."""
    if isinstance(value, int):
        raise FormatError(f"a text was expected, the number {value} found")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"a text is not UTF-8: {error.reason} at its byte {error.start}"
        ) from error


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2 * _SIGN_BIT if value & _SIGN_BIT else value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position >= len(message):
            raise FormatError("the message ends within a number")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & (2 * _SIGN_BIT - 1), position
    raise FormatError(f"a number has more than {_MAX_VARINT_BYTES} bytes (at byte {position})")
