"""Model files that are protobuf messages (ONNX, SavedModel), walked as `wire/protobuf.py` walks any message.

What is a file's own is here: it is mapped, so that only what is looked at is read from the disk, it may have more
fields than any request, and what is wrong with it is a FormatError.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import open_file
from overbook.wire.protobuf import Field, MalformedMessage, TooManyFields, Walk

# Of one file: some seconds of reading.
MOST_FIELDS: Final = 2_000_000
_SIGN_BIT: Final = 1 << 63


def mapped(path: Path) -> memoryview:
    """The file's content; unmapped when the last slice of it is gone. Raises OSError, FormatError when empty."""
    with open_file(path) as file:
        if file.seek(0, 2) == 0:
            raise FormatError("the file is empty")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class FileWalk(Walk):
    """A walk through one file. ``most``: fields that are looked at in all, as a file may be made of nothing else."""

    def __init__(self, most: int = MOST_FIELDS) -> None:
        super().__init__(most)

    def fields(self, message: memoryview) -> Iterator[Field]:
        """The fields of any message in the file. Raises FormatError."""
        try:
            yield from super().fields(message)
        except TooManyFields as error:
            raise FormatError(f"it has {error}") from error
        except MalformedMessage as error:
            raise FormatError(str(error)) from error

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


def text(value: int | memoryview | bytes) -> str:
    """A string field's content. Raises FormatError."""
    if not isinstance(value, memoryview):
        raise FormatError("a text was expected, a number found")
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"a text is not UTF-8: {error.reason} at its byte {error.start}"
        ) from error


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2 * _SIGN_BIT if value & _SIGN_BIT else value
