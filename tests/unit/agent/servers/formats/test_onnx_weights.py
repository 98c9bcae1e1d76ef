"""Bytes of an ONNX file's weights, compared with those of the arrays that were put into it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.onnx_weights import MOST_FIELDS, Weights, weights_of
from tests.unit.wire.writing import block, number

WEIGHTS = np.arange(600, dtype=np.float32).reshape(20, 30)
FLOATS = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 20])
ANSWER = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 30])


def graph(*nodes: onnx.NodeProto, weights: list[onnx.TensorProto] | None = None) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [FLOATS], [ANSWER], weights or [])


def multiply(name: str = "w") -> onnx.NodeProto:
    return helper.make_node("MatMul", ["x", name], ["y"])


def saved(folder: Path, made: onnx.GraphProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(made).SerializeToString())
    return path


def test_initializers_raw_and_typed(tmp_path: Path) -> None:
    raw = numpy_helper.from_array(WEIGHTS, "w")
    typed = helper.make_tensor("v", TensorProto.DOUBLE, [3], [1.0, 2.0, 3.0])
    path = saved(tmp_path, graph(multiply(), weights=[raw, typed]))
    assert weights_of(path) == Weights(inside=WEIGHTS.nbytes + 3 * 8, nodes=1)


def test_constants_and_graphs_within_graphs(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [multiply()], "then", [], [ANSWER], [numpy_helper.from_array(WEIGHTS, "w")]
    )
    constant = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(WEIGHTS[:2], "c")
    )
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    found = weights_of(saved(tmp_path, graph(constant, branch)))
    assert found == Weights(inside=2 * WEIGHTS.nbytes + WEIGHTS[:2].nbytes, nodes=4)


def test_sparse_initializers(tmp_path: Path) -> None:
    made = graph(multiply())
    made.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor(
                "w", TensorProto.FLOAT, [2], np.array([1, 2], np.float32).tobytes(), raw=True
            ),
            helper.make_tensor(
                "i", TensorProto.INT64, [2], np.array([3, 9], np.int64).tobytes(), raw=True
            ),
            [600],
        )
    )
    assert weights_of(saved(tmp_path, made)).inside == 8 + 16


def test_weights_in_another_file(tmp_path: Path) -> None:
    model = helper.make_model(graph(multiply(), weights=[numpy_helper.from_array(WEIGHTS, "w")]))
    path = tmp_path / "model.onnx"
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    assert weights_of(path) == Weights(inside=0, outside=WEIGHTS.nbytes, nodes=1)


def test_another_file_of_which_nothing_is_said(tmp_path: Path) -> None:
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[600], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="weights.bin")
    whole = numpy_helper.from_array(WEIGHTS, "v")
    assert weights_of(saved(tmp_path, graph(multiply(), weights=[tensor, whole]))) == Weights(
        inside=WEIGHTS.nbytes, outside=None, nodes=1
    )


def test_trees_are_told(tmp_path: Path) -> None:
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", nodes_values=[0.5] * 50
    )
    assert weights_of(saved(tmp_path, graph(trees))) == Weights(inside=0, nodes=1, trees=True)


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = block(1, block(4, "If") + block(5, block(6, inner)))
    return block(7, inner)


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (number(1, 8), "no graph"),
        (block(7, block(1, b"") * (MOST_FIELDS + 5)), "fields"),
        (number(1, 8) * (MOST_FIELDS + 5), "fields"),
        (nested(40), "nested"),
        (b"\x0f\xff\xff", "wire type|ends|number"),
    ],
)
def test_what_cannot_be_counted_costs_little(tmp_path: Path, content: bytes, trouble: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    begun = time.process_time()
    with pytest.raises(FormatError, match=trouble):
        weights_of(path)
    assert time.process_time() - begun < 2.0


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 2600), change=st.binary(max_size=6), end=st.integers(0, 3000))
def test_damaged_files_raise_nothing_else(tmp_path: Path, at: int, change: bytes, end: int) -> None:
    weights = [numpy_helper.from_array(WEIGHTS, "w")]
    content = bytearray(helper.make_model(graph(multiply(), weights=weights)).SerializeToString())
    content[at : at + len(change)] = change
    path = tmp_path / "model.onnx"
    path.write_bytes(content[:end])
    with contextlib.suppress(FormatError):
        assert 0 <= weights_of(path).inside <= len(content)
