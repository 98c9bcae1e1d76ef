"""What an ONNX file says, compared with files that the onnx package wrote."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.onnx import OnnxModel, read_onnx
from tests.unit.agent.servers.formats.writing import onnx_model, onnx_tensor
from tests.unit.wire.writing import block, number


def written(folder: Path, graph: onnx.GraphProto, **options: int) -> OnnxModel:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = options.get("ir_version", 8)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return read_onnx(path)


def info(name: str, kind: int, shape: list[int | str | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_types_and_shapes(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    inputs = [
        info("x", TensorProto.FLOAT, ["batch", 4, None]),
        info("text", TensorProto.STRING, []),
        info("any", TensorProto.BOOL, None),
        info("empty", TensorProto.INT64, [0, 2]),
    ]
    found = written(tmp_path, helper.make_graph([node], "g", inputs, [inputs[0]]))
    assert found.ir_version == 8
    assert found.opsets == {"ai.onnx": 17}
    described = {each.name: (each.data_type, each.dims) for each in found.inputs}
    assert described == {
        "x": ("TYPE_FP32", (-1, 4, -1)),
        "text": ("TYPE_STRING", ()),
        "any": ("TYPE_BOOL", None),
        "empty": ("TYPE_INT64", (-1, 2)),
    }
    assert [each.name for each in found.outputs] == ["x"]


@pytest.mark.parametrize(
    ("element", "data_type"),
    [
        (TensorProto.FLOAT16, "TYPE_FP16"),
        (TensorProto.DOUBLE, "TYPE_FP64"),
        (TensorProto.BFLOAT16, "TYPE_BF16"),
        (TensorProto.UINT8, "TYPE_UINT8"),
        (TensorProto.UINT16, "TYPE_UINT16"),
        (TensorProto.UINT32, "TYPE_UINT32"),
        (TensorProto.UINT64, "TYPE_UINT64"),
        (TensorProto.INT8, "TYPE_INT8"),
        (TensorProto.INT16, "TYPE_INT16"),
        (TensorProto.INT32, "TYPE_INT32"),
    ],
)
def test_every_type(tmp_path: Path, element: int, data_type: str) -> None:
    each = info("x", element, [1])
    found = written(tmp_path, helper.make_graph([], "g", [each], [each]))
    assert found.inputs[0].data_type == data_type


def test_weights_are_no_inputs(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    listed = [info("x", TensorProto.FLOAT, [2]), info("w", TensorProto.FLOAT, [2])]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        listed,
        [info("y", TensorProto.FLOAT, [2])],
        [weight],
    )
    found = written(tmp_path, graph, ir_version=3)
    assert [each.name for each in found.inputs] == ["x"]
    assert [each.name for each in found.defaults] == ["w"]


def test_sparse_weights_are_no_inputs(tmp_path: Path) -> None:
    sparse = block(15, block(1, block(8, "w")))
    tensors = [onnx_tensor("x", 1, (2,)), onnx_tensor("w", 1, (2,))]
    path = onnx_model(tmp_path / "m.onnx", tensors, tensors[:1], graph=sparse)
    assert [each.name for each in read_onnx(path).inputs] == ["x"]


def test_what_is_no_tensor_says_so(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    found = written(tmp_path, helper.make_graph([], "g", [sequence], [sequence]))
    assert "sequence" in found.outputs[0].trouble
    odd = onnx_model(tmp_path / "odd.onnx", [onnx_tensor("c", 14, (2,))], [block(1, "y")])
    assert "element type 14" in read_onnx(odd).inputs[0].trouble
    assert "no type" in read_onnx(odd).outputs[0].trouble


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 not a model at all", "no field has the number 0"),
        (number(1, 8), "no graph"),
        (block(7, b""), "no ir_version"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(FormatError, match=words):
        read_onnx(tmp_path / "model.onnx")
