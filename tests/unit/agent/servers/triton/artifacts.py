"""Artifacts for a Triton, as small as they get."""

from __future__ import annotations

from pathlib import Path

from overbook.agent.servers.protocol import PreparedModel
from overbook.agent.servers.triton.backends import Backends, pip_offer
from tests.unit.agent.servers.formats.writing import (
    add_sub,
    meta_graph,
    onnx_model,
    onnx_tensor,
    saved_model,
)

ALL: Backends = pip_offer(("onnx", "tensorflow", "pytorch"))
FLOAT_ONNX = 1


def prepared(artifact: Path, name: str = "m", **fields: object) -> PreparedModel:
    return PreparedModel(name, 1, artifact, **fields)  # type: ignore[arg-type]


def linear(path: Path, *, batch: int = -1, opset: int = 17, ir_version: int = 8) -> Path:
    """An ONNX file that takes x FP32[batch, 4] and gives y FP32[batch, 3]."""
    return onnx_model(
        path,
        [onnx_tensor("x", FLOAT_ONNX, (batch, 4))],
        [onnx_tensor("y", FLOAT_ONNX, (batch, 3))],
        opset=opset,
        ir_version=ir_version,
    )


def adder(folder: Path, *, batch: bool = False) -> Path:
    """A SavedModel with the signature of the mission's example."""
    return saved_model(folder, meta_graph({"serving_default": add_sub(batch=batch)}))


def config(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(text)
    return folder


TORCH_TENSORS = """
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
