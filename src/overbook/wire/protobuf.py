"""Walks the fields of a protobuf message without its schema, and without touching the bytes of what is skipped. Pure.

For those who need little of a message that is large: the name in a request with 64 MB of tensors, the inputs that a
model file lists between gigabytes of weights. A message is a `memoryview` of received bytes or of a mapped file, and
strings and messages in it are slices, so nothing is copied or read that nobody looks at.

It is stricter than decoders, which differ in what they make of some messages: it refuses groups, which proto3 does not
have, the field number 0, tags of more than 32 bits, and lengths of more than 64, of which some drop the rest.
`gateway/lua/name_grpc.lua` does the same inside Envoy, and `tests/unit/gateway/lua/test_name_grpc.py` holds the two
against each other. `runtimes/triton/plugin/backends/tensorflow/signatures.py` has a small walker of its own, as it runs
where Overbook is not installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

_VARINT: Final = 0
_BYTES: Final = 2
# 64 and 32 bits.
_FIXED_SIZES: Final = {1: 8, 5: 4}
_TAG_BITS: Final = 32
_MAX_VARINT_BYTES: Final = 10
_VALUE_MASK: Final = (1 << 64) - 1

# A field's number and value: a whole number (varint), a slice (string, bytes, message, packed numbers), or the four or
# eight bytes of a fixed-size number.
Field: TypeAlias = tuple[int, int | memoryview | bytes]


class MalformedMessage(ValueError):
    """The bytes are no protobuf message. It says what is wrong, and at which byte of the message at hand."""


class TooManyFields(MalformedMessage):
    """The message may be well formed; nobody looks at so many fields."""


class Walk:
    """A walk through a message and those within it. ``most``: fields that it looks at, all messages together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most

    def fields(self, message: memoryview) -> Iterator[Field]:
        """Each field in its order, also where one occurs again. Raises MalformedMessage, TooManyFields."""
        position, end = 0, len(message)
        while position < end:
            if self._left == 0:
                raise TooManyFields(f"more than {self._most} fields")
            self._left -= 1
            tag, position = _varint(message, position)
            number, kind = tag >> 3, tag & 7
            if number == 0 or tag >> _TAG_BITS:
                raise MalformedMessage(f"no field has the number {number} (at byte {position})")
            if kind == _VARINT:
                value, position = _varint(message, position)
                yield number, value & _VALUE_MASK
                continue
            size, position = _size(message, position, tag)
            begin, position = position, position + size
            if position > end:
                raise MalformedMessage(
                    f"field {number} ends {position - end} bytes after its message"
                )
            part = message[begin:position]
            yield number, part if kind == _BYTES else bytes(part)


def _size(message: memoryview, position: int, tag: int) -> tuple[int, int]:
    """How many bytes the content of a field takes that is no varint, and where it begins."""
    kind = tag & 7
    if kind == _BYTES:
        return _varint(message, position)
    if kind in _FIXED_SIZES:
        return _FIXED_SIZES[kind], position
    raise MalformedMessage(
        f"field {tag >> 3} has the unknown wire type {kind} (at byte {position})"
    )


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of up to 70 bits, and where the next thing begins."""
    value = shift = 0
    while shift < 7 * _MAX_VARINT_BYTES:
        try:
            byte = message[position]
        except IndexError:
            raise MalformedMessage("the message ends within a number") from None
        position += 1
        if byte < 0x80:
            return value | byte << shift, position
        value |= (byte & 0x7F) << shift
        shift += 7
    raise MalformedMessage(f"a number has more than {_MAX_VARINT_BYTES} bytes (at byte {position})")
