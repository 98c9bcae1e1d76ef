"""Models that tell what their own code can see of the process they run in, for MLServer and for Triton."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

_LOOK = """
import json
import os
import resource
import tempfile


def look():
    with open("/proc/self/status") as file:
        status = dict(line.rstrip().split(":", 1) for line in file)
    with tempfile.NamedTemporaryFile() as made:
        folder = os.stat(os.path.dirname(made.name))
        return json.dumps({
            "environment": dict(os.environ),
            "no_new_privileges": status["NoNewPrivs"].strip(),
            "temporary": os.path.dirname(made.name),
            "temporary_mode": folder.st_mode & 0o777,
            "umask": status["Umask"].strip(),
            "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        })
"""
_MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceResponse


class Spy(MLModel):
    async def predict(self, payload):
        told = StringCodec.encode_output("told", [look()])
        return InferenceResponse(model_name=self.name, outputs=[told])
"""
_TRITON = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        told = np.array([look()], dtype=np.object_)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("told", told)]) for _ in requests
        ]
"""
_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_INT64 dims: [1] }]
output [{ name: "told" data_type: TYPE_STRING dims: [1] }]
"""


def mlserver_spy(folder: Path) -> Path:
    """The folder of an artifact."""
    folder.mkdir(parents=True)
    (folder / "spy.py").write_text(_LOOK + _MLSERVER)
    (folder / "model-settings.json").write_text(json.dumps({"implementation": "spy.Spy"}))
    return folder


def triton_spy(folder: Path) -> Path:
    """As `mlserver_spy`."""
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(_LOOK + _TRITON)
    (folder / "config.pbtxt").write_text(_CONFIG)
    return folder


def told(client: httpx.Client, model: str) -> dict[str, Any]:
    """What the spy sees."""
    tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
    reply = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = json.loads(reply.json()["outputs"][0]["data"][0])
    return found
