"""Large models of several frameworks: their folders, and the requests that they answer."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bench.errors import BenchFailed
from overbook.client.http import Json, JsonObject
from overbook.runtimes.install import environment

FRAMEWORKS: Final = ("sklearn", "lightgbm", "xgboost", "onnx")
_SCRIPT: Final = Path(__file__).with_name("large_models.py")
_FEATURES: Final = 4
_OPSET, _IR_VERSION = 17, 8
_MAKE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Large:
    """A model of ``megabytes`` on disk; ``body``: a request that it answers."""

    framework: str
    home: Path
    megabytes: float
    body: JsonObject


def large_model(framework: str, home: Path, megabytes: int) -> Large:
    """Made anew; takes up to a minute. Raises BenchFailed."""
    if framework == "onnx":
        matrix(home, megabytes * 1_000_000)
    else:
        done = subprocess.run(
            [*map(str, (environment("mlserver").python, _SCRIPT, framework, home, megabytes))],
            capture_output=True,
            text=True,
            timeout=_MAKE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise BenchFailed(f"a large model of {framework}: {done.stderr.strip()[-300:]}")
    size = sum(path.stat().st_size for path in home.iterdir())
    body = wide_request() if framework == "onnx" else _row("predict", "FP64")
    return Large(framework, home, size / 1e6, body)


def wide_request() -> JsonObject:
    """What a `matrix` answers."""
    return _row("x", "FP32")


def _row(tensor: str, datatype: str) -> JsonObject:
    data: list[Json] = [0.1, -0.2, 0.3, 0.4]
    row: JsonObject = {"name": tensor, "shape": [1, len(data)], "datatype": datatype, "data": data}
    return {"inputs": [row]}


def matrix(home: Path, size: int, *, seed: int = 1) -> NDArray[np.float32]:
    """An ONNX model of ``size`` bytes, a wide layer and its sum: nearly all weights, answered quickly.

    Returns the weights.
    """
    width = size // 4 // _FEATURES
    weights = np.random.default_rng(seed).normal(size=(_FEATURES, width)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["wide"]),
            helper.make_node("ReduceSum", ["wide", "axes"], ["y"], keepdims=1),
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", _FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
        ],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    home.mkdir(parents=True)
    onnx.save(model, str(home / "model.onnx"))
    return weights
