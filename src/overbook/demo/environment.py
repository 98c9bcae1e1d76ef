"""The environment in which the demo makes its ONNX models: no inference server has what writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overbook.runtimes.catalogue import Runtime

_HERE: Final = Path(__file__).with_name("trainers")

TRAINING: Final = Runtime(
    name="demo-training",
    capabilities=(),
    packages=("onnx", "scikit-learn"),
    lock=_HERE / "networks.lock",
    plugin=_HERE,
)
