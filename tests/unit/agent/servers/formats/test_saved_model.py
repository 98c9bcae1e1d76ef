"""What a SavedModel says, from messages written by their field numbers.

That TensorFlow's own files read the same is shown where TensorFlow is: tests/integration/test_triton_backends.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.saved_model import read_saved_model
from tests.unit.agent.servers.formats.writing import (
    FLOAT,
    STRING,
    add_sub,
    meta_graph,
    saved_model,
    signature,
    tensor_info,
)
from tests.unit.wire.writing import block, number


def test_a_signature_with_names_types_and_shapes(tmp_path: Path) -> None:
    given = signature(
        {"text": tensor_info("a", STRING, ()), "any": tensor_info("b", FLOAT, None)},
        {"out": tensor_info("c", FLOAT, (-1, 3))},
    )
    (graph,) = read_saved_model(saved_model(tmp_path, meta_graph({"serving_default": given})))
    assert graph.tags == {"serve"}
    found = graph.signatures["serving_default"]
    assert [(each.name, each.data_type, each.dims) for each in found.inputs] == [
        ("any", "TYPE_FP32", None),
        ("text", "TYPE_STRING", ()),
    ]
    assert [(each.name, each.dims) for each in found.outputs] == [("out", (-1, 3))]


def test_private_signatures_and_those_without_outputs_do_not_count(tmp_path: Path) -> None:
    none = signature({}, {})
    graphs = meta_graph({"__saved_model_init_op": add_sub(), "train": none, "mine": add_sub()})
    (graph,) = read_saved_model(saved_model(tmp_path, graphs))
    assert set(graph.signatures) == {"mine"}


def test_every_graph_has_its_tags(tmp_path: Path) -> None:
    graphs = (meta_graph({}, ("serve", "gpu")), meta_graph({}, ("train",)))
    found = read_saved_model(saved_model(tmp_path, *graphs))
    assert [each.tags for each in found] == [{"serve", "gpu"}, {"train"}]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (tensor_info("x", FLOAT, (1,), block(4, block(1, "values"))), "sparse or composite"),
        (tensor_info("x", 20, (1,)), "data type 20"),
    ],
)
def test_tensors_that_no_server_takes(tmp_path: Path, info: bytes, words: str) -> None:
    given = signature({"x": info}, {"y": info})
    (graph,) = read_saved_model(saved_model(tmp_path, meta_graph({"s": given})))
    assert words in graph.signatures["s"].inputs[0].trouble


def test_a_dimension_of_size_zero_is_not_written_and_any_size_fits(tmp_path: Path) -> None:
    info = block(1, "x:0") + number(2, FLOAT) + block(3, block(2, b"") + block(2, number(1, 2)))
    given = signature({"x": info}, {"y": info})
    (graph,) = read_saved_model(saved_model(tmp_path, meta_graph({"s": given})))
    assert graph.signatures["s"].inputs[0].dims == (-1, 2)


@pytest.mark.parametrize("content", [b"", b"\x08\x01", b"<html>"])
def test_what_is_no_saved_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(FormatError):
        read_saved_model(tmp_path)
