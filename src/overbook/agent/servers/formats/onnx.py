"""Reads of an ONNX file what it takes and gives, and what it asks of the program that runs it.

The field numbers are those of ModelProto in onnx.proto. Weights are skipped, so a file of gigabytes costs what
its node list costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats import protobuf
from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.tensors import TensorSpec

DEFAULT_DOMAIN: Final = "ai.onnx"

# ModelProto
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
# GraphProto
_INITIALIZER, _INPUT, _OUTPUT, _SPARSE_INITIALIZER = 5, 11, 12, 15
_TENSOR_NAME, _SPARSE_VALUES = 8, 1
# ValueInfoProto and what it holds
_VALUE_NAME, _VALUE_TYPE = 1, 2
_ELEMENT, _SHAPE, _DIM, _DIM_VALUE = 1, 2, 1, 1
_TENSOR: Final = 1
_OTHER_TYPES: Final = {4: "sequence", 5: "map", 8: "sparse tensor", 9: "optional"}
_DATA_TYPES: Final = {
    1: "TYPE_FP32",
    2: "TYPE_UINT8",
    3: "TYPE_INT8",
    4: "TYPE_UINT16",
    5: "TYPE_INT16",
    6: "TYPE_INT32",
    7: "TYPE_INT64",
    8: "TYPE_STRING",
    9: "TYPE_BOOL",
    10: "TYPE_FP16",
    11: "TYPE_FP64",
    12: "TYPE_UINT32",
    13: "TYPE_UINT64",
    16: "TYPE_BF16",
}


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """``opsets``: version by domain, the standard one under `DEFAULT_DOMAIN`. ``inputs``: those without
    a value in the file. ``defaults``: those that have one and may be sent nevertheless.
    """

    ir_version: int
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    defaults: tuple[TensorSpec, ...] = ()


def read_onnx(path: Path) -> OnnxModel:
    """Raises FormatError, OSError."""
    walk = protobuf.FileWalk()
    ir_version, graph = 0, None
    opsets: dict[str, int] = {}
    for number, value in walk.fields(protobuf.mapped(path)):
        if number == _IR_VERSION and isinstance(value, int):
            ir_version = value
        elif number == _OPSETS and isinstance(value, memoryview):
            domain, version = _opset(walk, value)
            opsets[domain] = max(version, opsets.get(domain, 0))
        elif number == _GRAPH and isinstance(value, memoryview):
            graph = value
    if graph is None:
        raise FormatError("it has no graph")
    if ir_version == 0:
        raise FormatError("it has no ir_version")
    initialized, inputs, outputs = _graph(walk, graph)
    # Before IR version 4 every weight had to be listed as an input as well.
    return OnnxModel(
        ir_version,
        opsets,
        inputs=tuple(each for each in inputs if each.name not in initialized),
        outputs=tuple(outputs),
        defaults=tuple(each for each in inputs if each.name in initialized),
    )


def _opset(walk: protobuf.FileWalk, message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value in walk.fields(message):
        if number == _OPSET_DOMAIN:
            domain = protobuf.text(value)
        elif number == _OPSET_VERSION and isinstance(value, int):
            version = value
    return domain or DEFAULT_DOMAIN, version


def _graph(
    walk: protobuf.FileWalk, graph: memoryview
) -> tuple[set[str], list[TensorSpec], list[TensorSpec]]:
    """Names that have a value in the file, all inputs, all outputs."""
    initialized: set[str] = set()
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for number, value in walk.fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == _INITIALIZER:
            initialized.add(_named(walk, value, _TENSOR_NAME))
        elif number == _SPARSE_INITIALIZER:
            initialized.update(
                _named(walk, each, _TENSOR_NAME) for each in walk.messages(value, _SPARSE_VALUES)
            )
        elif number == _INPUT:
            inputs.append(_tensor(walk, value))
        elif number == _OUTPUT:
            outputs.append(_tensor(walk, value))
    return initialized, inputs, outputs


def _named(walk: protobuf.FileWalk, message: memoryview, field: int) -> str:
    for number, value in walk.fields(message):
        if number == field:
            return protobuf.text(value)
    return ""


def _tensor(walk: protobuf.FileWalk, message: memoryview) -> TensorSpec:
    name, data_type, trouble = "", "", "it has no type"
    dims: tuple[int, ...] | None = None
    for number, value in walk.fields(message):
        if number == _VALUE_NAME:
            name = protobuf.text(value)
        elif number == _VALUE_TYPE and isinstance(value, memoryview):
            data_type, dims, trouble = _type(walk, value)
    return TensorSpec(name, data_type, dims, trouble=trouble)


def _type(walk: protobuf.FileWalk, message: memoryview) -> tuple[str, tuple[int, ...] | None, str]:
    for number, value in walk.fields(message):
        if number in _OTHER_TYPES:
            return "", None, f"it is a {_OTHER_TYPES[number]}, expected a tensor"
        if number == _TENSOR and isinstance(value, memoryview):
            return _tensor_type(walk, value)
    return "", None, "it has no type"


def _tensor_type(
    walk: protobuf.FileWalk, message: memoryview
) -> tuple[str, tuple[int, ...] | None, str]:
    element, dims = 0, None
    for number, value in walk.fields(message):
        if number == _ELEMENT and isinstance(value, int):
            element = value
        elif number == _SHAPE and isinstance(value, memoryview):
            dims = tuple(_dim(walk, each) for each in walk.messages(value, _DIM))
    data_type = _DATA_TYPES.get(element, "")
    trouble = "" if data_type else f"its element type {element} is one that Triton does not know"
    return data_type, dims, trouble


def _dim(walk: protobuf.FileWalk, message: memoryview) -> int:
    """-1 for a named or unknown dimension, and for none at all: a server takes no tensor of a fixed size 0."""
    for number, value in walk.fields(message):
        if number == _DIM_VALUE and isinstance(value, int):
            size = protobuf.signed(value)
            return size if size > 0 else -1
    return -1
