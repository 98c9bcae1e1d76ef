"""Signatures out of a serialised MetaGraphDef: which tensors of the graph have which names outside.

A few fields of three messages; TensorFlow's own classes for them cannot be had without importing all of it. Nor can
Overbook's walker be had, which is not installed here. It need not be as careful: the message was written a moment ago
by TensorFlow in this process, not by the model's author.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

DEFAULT_SIGNATURE = "serving_default"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIGNATURES = 5
_INPUTS, _OUTPUTS = 1, 2
_NAME, _SHAPE = 1, 3
_DIM, _UNKNOWN_RANK = 2, 3


@dataclass(frozen=True)
class TensorInfo:
    """``tensor``: OPERATION:INDEX in the graph. ``rank``: None where the graph does not say."""

    tensor: str
    rank: int | None


@dataclass
class Signature:
    inputs: dict[str, TensorInfo] = field(default_factory=dict)
    outputs: dict[str, TensorInfo] = field(default_factory=dict)


def read_signatures(meta_graph: memoryview) -> dict[str, Signature]:
    """By name. Tensors that are no plain dense ones are left out."""
    found: dict[str, Signature] = {}
    for number, entry in _fields(meta_graph):
        if number == _SIGNATURES and not isinstance(entry, int):
            name, content = _entry(entry)
            found[name] = _signature(content)
    return found


def _signature(content: memoryview) -> Signature:
    made = Signature()
    for number, entry in _fields(content):
        if number in (_INPUTS, _OUTPUTS) and not isinstance(entry, int):
            name, info = _entry(entry)
            tensor = _tensor_info(info)
            if tensor is not None:
                (made.inputs if number == _INPUTS else made.outputs)[name] = tensor
    return made


def _tensor_info(content: memoryview) -> TensorInfo | None:
    tensor, rank = "", None
    for number, value in _fields(content):
        if isinstance(value, int):
            continue
        if number == _NAME:
            tensor = bytes(value).decode()
        elif number == _SHAPE:
            rank = _rank(value)
    return TensorInfo(tensor, rank) if tensor else None


def _rank(shape: memoryview) -> int | None:
    rank = 0
    for number, value in _fields(shape):
        if number == _UNKNOWN_RANK and value:
            return None
        rank += number == _DIM
    return rank


def _entry(content: memoryview) -> tuple[str, memoryview]:
    """An entry of a map: its key and its value."""
    parts = {number: value for number, value in _fields(content) if not isinstance(value, int)}
    return bytes(parts.get(1, b"")).decode(), parts.get(2, memoryview(b""))


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(content, position)
            yield number, value
        elif kind == _BYTES:
            length, position = _varint(content, position)
            yield number, content[position : position + length]
            position += length
        else:
            position += {_FIXED64: 8, _FIXED32: 4}[kind]


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
