"""Small ONNX models for tests, written with the onnx package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str] | None
# The protocol's name of a type, ONNX's number for it, NumPy's type.
TYPES = {
    "BOOL": (TensorProto.BOOL, np.dtype(np.bool_)),
    "UINT8": (TensorProto.UINT8, np.dtype(np.uint8)),
    "UINT16": (TensorProto.UINT16, np.dtype(np.uint16)),
    "UINT32": (TensorProto.UINT32, np.dtype(np.uint32)),
    "UINT64": (TensorProto.UINT64, np.dtype(np.uint64)),
    "INT8": (TensorProto.INT8, np.dtype(np.int8)),
    "INT16": (TensorProto.INT16, np.dtype(np.int16)),
    "INT32": (TensorProto.INT32, np.dtype(np.int32)),
    "INT64": (TensorProto.INT64, np.dtype(np.int64)),
    "FP16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "FP32": (TensorProto.FLOAT, np.dtype(np.float32)),
    "FP64": (TensorProto.DOUBLE, np.dtype(np.float64)),
    "BYTES": (TensorProto.STRING, np.dtype(object)),
}


def value(name: str, datatype: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[datatype][0], shape)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *,
    constants: Sequence[onnx.TensorProto] = (),
    opset: int = 17,
) -> Path:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(constants))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def add_sub(path: Path, datatype: str = "INT32", shape: Shape = (16,)) -> Path:
    """``sum`` and ``diff`` of ``a`` and ``b``."""
    return save(
        path,
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Sub", ["a", "b"], ["diff"]),
        ],
        [value("a", datatype, shape), value("b", datatype, shape)],
        [value("sum", datatype, shape), value("diff", datatype, shape)],
    )


def echo(path: Path, datatype: str, shape: Shape = ("n",)) -> Path:
    """``y`` is ``x``."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return save(path, [node], [value("x", datatype, shape)], [value("y", datatype, shape)])


def dense(path: Path, *, layers: int, width: int) -> Path:
    """``y`` is ``x`` times ``layers`` random square matrices."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(width, width)).astype(np.float32), f"w{number}")
        for number in range(layers)
    ]
    names = ["x", *(f"h{number}" for number in range(1, layers)), "y"]
    nodes = [
        helper.make_node("MatMul", [names[number], f"w{number}"], [names[number + 1]])
        for number in range(layers)
    ]
    inputs, outputs = [value("x", "FP32", ["n", width])], [value("y", "FP32", ["n", width])]
    return save(path, nodes, inputs, outputs, constants=weights)
