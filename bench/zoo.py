"""Models of every supported kind, of wanted sizes, each with a request and what it answers to it. Writes files.

Those of MLServer's frameworks are made in its own environment (`truth_models`), the others here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from bench.errors import BenchFailed
from bench.large import matrix
from overbook.agent.servers.protocol import PreparedModel
from overbook.client.http import Json, JsonObject
from overbook.runtimes.install import RuntimeEnvironment, environment

_SCRIPT: Final = Path(__file__).with_name("truth_models.py")
_SAVED_MODELS: Final = Path(__file__).with_name("truth_networks.py")
_MAKE_SECONDS: Final = 600.0
# What a model's manifest requires; those of the kinds that are not here say nothing but their own name.
_REQUIREMENTS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("linear", "forest", "boosting", "neighbours", "text"), ("sklearn",)),
    "custom": ("python", "mlserver"),
    "onnx": ("onnx", "mlserver"),
    "triton-onnx": ("onnx", "triton"),
    "triton-savedmodel": ("tensorflow", "triton"),
    "triton-python": ("python", "triton"),
}
EXTRAS: Final = ("xgboost", "lightgbm", "catboost", "mlflow")
_TRITON: Final = "triton"
_CONFIG: Final = """
backend: "python"
input [ { name: "x", data_type: TYPE_FP64, dims: [ -1, 8 ] } ]
output [ { name: "y", data_type: TYPE_FP64, dims: [ 1 ] } ]
"""
_PYTHON: Final = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.kept = np.random.default_rng(1).random({count})

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([
                pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(r, "x").as_numpy().sum().reshape(1))
            ])
            for r in requests
        ]
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """``megabytes``: about what it is to take in memory, besides the process where it has one of its own."""

    name: str
    kind: str
    megabytes: float
    seed: int = 1

    @property
    def on_triton(self) -> bool:
        return self.kind.startswith(_TRITON)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A model that was made. ``answers``: the data of the first output to ``request``."""

    plan: Plan
    home: Path
    request: JsonObject
    answers: tuple[float | str, ...]

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def requirements(self) -> tuple[str, ...]:
        return _REQUIREMENTS.get(self.plan.kind, (self.plan.kind,))

    @property
    def prepared(self) -> PreparedModel:
        """As an agent would hand it to its server's adapter."""
        return PreparedModel(self.name, 1, self.home, self.requirements)


def make(folder: Path, plans: Sequence[Plan]) -> list[Exhibit]:
    """Takes some seconds for every ten. Raises BenchFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    here = {"onnx": _onnx, "triton-onnx": _onnx, "triton-python": _python}
    networks = [plan for plan in plans if plan.kind == "triton-savedmodel"]
    inside = [plan for plan in plans if plan.kind not in here and plan not in networks]
    _run(environment("mlserver"), _SCRIPT, folder, inside)
    _run_on_triton(networks, folder)
    return [
        here[plan.kind](folder / plan.name, plan) if plan.kind in here else _made(folder, plan)
        for plan in plans
    ]


def _run_on_triton(plans: Sequence[Plan], folder: Path) -> None:
    if plans:
        _run(environment("triton"), _SAVED_MODELS, folder, plans)


def _run(runtime: RuntimeEnvironment, script: Path, folder: Path, plans: Sequence[Plan]) -> None:
    listed = folder / f"{script.stem}.json"
    listed.write_text(
        json.dumps(
            [
                {"name": each.name, "kind": each.kind, "megabytes": each.megabytes}
                | {"seed": each.seed}
                for each in plans
            ]
        )
    )
    done = subprocess.run(
        [str(runtime.python), "-I", "-W", "ignore", str(script), str(folder), str(listed)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchFailed(f"{script.name}: {done.stderr.strip()[-300:]}")


def _made(folder: Path, plan: Plan) -> Exhibit:
    said = json.loads((folder / f"{plan.name}.json").read_text())
    return Exhibit(plan, folder / plan.name, said["request"], tuple(said["answers"]))


def _onnx(home: Path, plan: Plan) -> Exhibit:
    """One wide layer."""
    weights = matrix(home, int(plan.megabytes * 1e6), seed=plan.seed)
    row = np.array([0.1, -0.2, 0.3, 0.4], np.float32)
    total = float((row.astype(np.float64) @ weights.astype(np.float64)).sum())
    return Exhibit(plan, home, _request("x", "FP32", row.reshape(1, -1)), (total,))


def _python(home: Path, plan: Plan) -> Exhibit:
    (home / "1").mkdir(parents=True)
    (home / "config.pbtxt").write_text(_CONFIG)
    (home / "1" / "model.py").write_text(_PYTHON.format(count=int(plan.megabytes * 1e6) // 8))
    rows = np.random.default_rng(plan.seed).random((2, 8))
    return Exhibit(plan, home, _request("x", "FP64", rows), (float(rows.sum()),))


def _request(name: str, datatype: str, rows: np.ndarray) -> JsonObject:
    shape: list[Json] = [*rows.shape]
    data: list[Json] = [float(each) for each in rows.ravel()]
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}
