"""Artifacts whose behaviour is written in a file, understood by the fake, a real MLServer and a real Triton."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from overbook.agent.servers.protocol import PreparedModel
from tests.fakes.fake_server import BEHAVIOUR_FILE, Script

_MLSERVER_CODE = """
import asyncio
import json
import os
import time

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
import numpy as np


class Scripted(MLModel):
    async def load(self) -> bool:
        folder = os.path.dirname(__file__)
        with open(os.path.join(folder, "behaviour.json")) as file:
            self.script = json.load(file)
        self.ballast = np.ones(self.script["size"], dtype=np.uint8)
        time.sleep(3600 if self.script["hang"] else self.script["seconds"])
        if self.script["crash"]:
            os._exit(7)
        if self.script["fail"]:
            raise ValueError(self.script["fail"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        await asyncio.sleep(self.script["thinks"])
        answer = NumpyCodec.encode_output("answer", np.array([self.script["answer"]]))
        return InferenceResponse(model_name=self.name, outputs=[answer])
"""

_TRITON_CODE = """
import json
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.dirname(__file__)
        with open(os.path.join(folder, "behaviour.json")) as file:
            self.script = json.load(file)
        self.ballast = np.ones(self.script["size"], dtype=np.uint8)
        time.sleep(3600 if self.script["hang"] else self.script["seconds"])
        if self.script["crash"]:
            os._exit(7)
        if self.script["fail"]:
            raise ValueError(self.script["fail"])

    def execute(self, requests):
        time.sleep(self.script["thinks"])
        answer = pb_utils.Tensor("answer", np.array([self.script["answer"]], dtype=np.int64))
        return [pb_utils.InferenceResponse([answer]) for _ in requests]
"""
_TRITON_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_INT64 dims: [1] }]
output [{ name: "answer" data_type: TYPE_INT64 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


def scripted_model(folder: Path, name: str, script: Script, generation: int = 1) -> PreparedModel:
    """Write the artifact and describe it. Every one ships a ``model.py``, on purpose."""
    artifact = folder / f"{name}-{generation}"
    artifact.mkdir(parents=True, exist_ok=True)
    (artifact / "model.py").write_text(_MLSERVER_CODE)
    (artifact / "model-settings.json").write_text(
        json.dumps({"name": "anything", "implementation": "model.Scripted"})
    )
    behaviour = json.dumps(dataclasses.asdict(script))
    (artifact / BEHAVIOUR_FILE).write_text(behaviour)
    (artifact / "config.pbtxt").write_text(_TRITON_CONFIG)
    (artifact / "1").mkdir(exist_ok=True)
    (artifact / "1" / "model.py").write_text(_TRITON_CODE)
    (artifact / "1" / BEHAVIOUR_FILE).write_text(behaviour)
    return PreparedModel(name=name, generation=generation, artifact=artifact)
