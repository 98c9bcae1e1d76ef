"""Reads of a TensorFlow SavedModel which signatures it has, and what each takes and gives.

The field numbers are those of saved_model.proto and meta_graph.proto. Functions and constants are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats import protobuf
from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.tensors import TensorSpec

FILE: Final = "saved_model.pb"
TEXT_FILE: Final = "saved_model.pbtxt"
DEFAULT_SIGNATURE: Final = "serving_default"
SERVE_TAG: Final = "serve"

_META_GRAPH: Final = 2
_META_INFO, _SIGNATURE = 1, 5
_TAG: Final = 4
_INPUTS, _OUTPUTS = 1, 2
# TensorInfo
_DATA_TYPE, _SHAPE, _SPARSE, _COMPOSITE = 2, 3, 4, 5
_DIM, _UNKNOWN_RANK, _SIZE = 2, 3, 1
# Signatures that are there for TensorFlow's own use.
_PRIVATE: Final = "__saved_model"
_DATA_TYPES: Final = {
    1: "TYPE_FP32",
    2: "TYPE_FP64",
    3: "TYPE_INT32",
    4: "TYPE_UINT8",
    5: "TYPE_INT16",
    6: "TYPE_INT8",
    7: "TYPE_STRING",
    9: "TYPE_INT64",
    10: "TYPE_BOOL",
    14: "TYPE_BF16",
    17: "TYPE_UINT16",
    19: "TYPE_FP16",
    22: "TYPE_UINT32",
    23: "TYPE_UINT64",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs in the order of their names."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One of the graphs of a SavedModel; TensorFlow's private signatures are left out."""

    tags: frozenset[str]
    signatures: Mapping[str, Signature]


def read_saved_model(folder: Path) -> tuple[MetaGraph, ...]:
    """All its graphs; there is at least one. Raises FormatError, OSError."""
    walk = protobuf.FileWalk()
    content = protobuf.mapped(folder / FILE)
    graphs = tuple(_meta_graph(walk, each) for each in walk.messages(content, _META_GRAPH))
    if not graphs:
        raise FormatError("it has no graph")
    return graphs


def _meta_graph(walk: protobuf.FileWalk, message: memoryview) -> MetaGraph:
    tags: set[str] = set()
    signatures: dict[str, Signature] = {}
    for number, value in walk.fields(message):
        if not isinstance(value, memoryview):
            continue
        if number == _META_INFO:
            tags.update(protobuf.text(each) for each in walk.messages(value, _TAG))
        elif number == _SIGNATURE:
            name, content = walk.entry(value)
            signature = _signature(walk, content)
            if not name.startswith(_PRIVATE) and signature.outputs:
                signatures[name] = signature
    return MetaGraph(frozenset(tags), signatures)


def _signature(walk: protobuf.FileWalk, message: memoryview) -> Signature:
    tensors: dict[int, list[TensorSpec]] = {_INPUTS: [], _OUTPUTS: []}
    for number, value in walk.fields(message):
        if number in tensors and isinstance(value, memoryview):
            tensors[number].append(_tensor(walk, *walk.entry(value)))
    ordered = (sorted(tensors[each], key=lambda spec: spec.name) for each in (_INPUTS, _OUTPUTS))
    return Signature(*(tuple(each) for each in ordered))


def _tensor(walk: protobuf.FileWalk, name: str, message: memoryview) -> TensorSpec:
    number, dims, trouble = 0, None, ""
    for field, value in walk.fields(message):
        if field == _DATA_TYPE and isinstance(value, int):
            number = value
        elif field == _SHAPE and isinstance(value, memoryview):
            dims = _dims(walk, value)
        elif field in (_SPARSE, _COMPOSITE):
            trouble = "it is a sparse or composite tensor, expected a plain one"
    data_type = _DATA_TYPES.get(number, "")
    if not data_type and not trouble:
        trouble = f"its data type {number} is one that Triton does not know"
    return TensorSpec(name, data_type, dims, trouble=trouble)


def _dims(walk: protobuf.FileWalk, shape: memoryview) -> tuple[int, ...] | None:
    dims = []
    for number, value in walk.fields(shape):
        if number == _UNKNOWN_RANK and value:
            return None
        if number == _DIM and isinstance(value, memoryview):
            dims.append(_size(walk, value))
    return tuple(dims)


def _size(walk: protobuf.FileWalk, dim: memoryview) -> int:
    for number, value in walk.fields(dim):
        if number == _SIZE and isinstance(value, int):
            size = protobuf.signed(value)
            return size if size > 0 else -1
    # A size of 0 is not written; no server takes a tensor of that fixed size.
    return -1
