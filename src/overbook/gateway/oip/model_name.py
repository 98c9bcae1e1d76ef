"""Finds the model's name in a serialised ModelInferRequest by walking over its fields. Pure.

A full decode of a message of 64 MB would copy its tensors; the walk jumps over them. It follows the
protocol-buffers rules that decide what the inference server will see: fields in any order, the last
occurrence counts.
"""

from __future__ import annotations

from typing import Final

# model_name is field 1 in ModelInferRequest, length-delimited.
_NAME_TAG: Final = (1 << 3) | 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10
# Real requests have tens. A message of a million tiny fields would stop the event loop for seconds.
MAX_FIELDS: Final = 65_536


class MalformedMessage(ValueError):
    """Not a protocol-buffers message that a server would accept; the message says where."""


def model_name(message: bytes) -> str:
    """The model's name, "" when the message has none. Raises MalformedMessage."""
    name = b""
    position = 0
    for _ in range(MAX_FIELDS):
        if position == len(message):
            return _decoded(name)
        tag, position = _varint(message, position)
        if tag == _NAME_TAG:
            length, position = _varint(message, position)
            name = message[position : position + length]
            position += length
        else:
            position = _skip(message, position, tag)
        if position > len(message):
            raise MalformedMessage(
                f"field {tag >> 3} ends after the message of {len(message)} bytes"
            )
    raise MalformedMessage(f"more than {MAX_FIELDS} fields")


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("field model_name is not UTF-8") from None


def _skip(message: bytes, position: int, tag: int) -> int:
    """Where the next field begins; may lie behind the end of the message."""
    kind = tag & 7
    if kind == _VARINT:
        return _varint(message, position)[1]
    if kind == _BYTES:
        length, position = _varint(message, position)
        return position + length
    if kind == _FIXED64:
        return position + 8
    if kind == _FIXED32:
        return position + 4
    # Groups (3, 4) are not part of proto3; 6 and 7 do not exist.
    raise MalformedMessage(f"wire type {kind} at byte {position}")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        if position >= len(message):
            raise MalformedMessage(f"cut off at byte {position}")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise MalformedMessage(f"number longer than {_MAX_VARINT_BYTES} bytes before byte {position}")
