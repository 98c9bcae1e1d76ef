"""Counts the bytes of an ONNX file's tensors: its weights, wherever in the graph they stand, as they are written.

The field numbers are those of onnx.proto. Weights are skipped, not read, and no more than `MOST_FIELDS` fields are
looked at: a file may consist of nothing but tiny ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats import protobuf
from overbook.agent.servers.formats.errors import FormatError

MOST_FIELDS: Final = 200_000
# Graphs within graphs (loops, branches) beyond this are an attack or a mistake.
_DEEPEST: Final = 16
# ModelProto, GraphProto, NodeProto, AttributeProto
_GRAPH: Final = 7
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_OPERATION, _ATTRIBUTE = 4, 5
_TENSOR_OF, _GRAPH_OF, _TENSORS_OF, _GRAPHS_OF = 5, 6, 10, 11
# TensorProto, SparseTensorProto, StringStringEntryProto. Data: floats, 32-bit numbers, texts, 64-bit numbers, raw,
# doubles, unsigned numbers.
_DATA: Final = frozenset((4, 5, 6, 7, 9, 10, 11))
_EXTERNAL, _LOCATION = 13, 14
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_KEY, _VALUE = 1, 2
_OUTSIDE: Final = 1
# Only these have weights in their attributes; to look into all of them would take as long as the graph is large.
_HOLDERS: Final = frozenset((b"Constant", b"If", b"Loop", b"Scan"))
_TREES: Final = b"TreeEnsemble"


@dataclass(frozen=True, slots=True)
class Weights:
    """``inside``: bytes of tensors in the file. ``outside``: in other files, as it claims; None when it
    does not say how many. ``nodes``: its operations. ``trees``: it has ensembles of trees, which are no tensors.
    """

    inside: int
    outside: int | None = 0
    nodes: int = 0
    trees: bool = False


class _Sum:
    """The count so far, and the walk that it comes from."""

    def __init__(self) -> None:
        self.fields = protobuf.FileWalk(MOST_FIELDS).fields
        self.inside = 0
        self.outside: int | None = 0
        self.nodes = 0
        self.trees = False

    def graph(self, message: memoryview, depth: int) -> None:
        if depth > _DEEPEST:
            raise FormatError(f"its graphs are nested more than {_DEEPEST} deep")
        for number, value in self.fields(message):
            if not isinstance(value, memoryview):
                continue
            if number == _INITIALIZER:
                self.tensor(value)
            elif number == _SPARSE_INITIALIZER:
                for part, tensor in self.fields(value):
                    if part in (_SPARSE_VALUES, _SPARSE_INDICES) and isinstance(tensor, memoryview):
                        self.tensor(tensor)
            elif number == _NODE:
                self.nodes += 1
                self.node(value, depth)

    def node(self, message: memoryview, depth: int) -> None:
        operation = b""
        for number, value in self.fields(message):
            if not isinstance(value, memoryview):
                continue
            if number == _OPERATION:
                operation = bytes(value[:32])
                if operation.startswith(_TREES):
                    self.trees = True
                if operation not in _HOLDERS:
                    return
            elif number == _ATTRIBUTE and operation:
                self.attribute(value, depth)

    def attribute(self, message: memoryview, depth: int) -> None:
        for number, value in self.fields(message):
            if not isinstance(value, memoryview):
                continue
            if number in (_TENSOR_OF, _TENSORS_OF):
                self.tensor(value)
            elif number in (_GRAPH_OF, _GRAPHS_OF):
                self.graph(value, depth + 1)

    def tensor(self, message: memoryview) -> None:
        external, outside = False, 0
        for number, value in self.fields(message):
            if number == _LOCATION:
                external = value == _OUTSIDE
            elif isinstance(value, int):
                continue
            elif number in _DATA:
                self.inside += len(value)
            elif number == _EXTERNAL and isinstance(value, memoryview):
                outside += self.entry(value)
        if external:
            known = outside > 0 and self.outside is not None
            self.outside = (self.outside or 0) + outside if known else None

    def entry(self, message: memoryview) -> int:
        """The number of bytes, when this entry tells that; else 0."""
        key, text = b"", b""
        for number, value in self.fields(message):
            if not isinstance(value, memoryview):
                continue
            if number == _KEY:
                key = bytes(value[:16])
            elif number == _VALUE:
                text = bytes(value[:24])
        return int(text) if key == b"length" and text.isdigit() else 0


def weights_of(path: Path) -> Weights:
    """Raises FormatError, OSError. Time is bounded by `MOST_FIELDS`."""
    found = _Sum()
    graphs = 0
    for number, value in found.fields(protobuf.mapped(path)):
        if number == _GRAPH and isinstance(value, memoryview):
            graphs += 1
            found.graph(value, 0)
    if not graphs:
        raise FormatError("it has no graph")
    return Weights(found.inside, found.outside, found.nodes, found.trees)
