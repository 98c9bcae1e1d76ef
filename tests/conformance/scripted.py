"""Artifacts whose behaviour is written in a file, understood by the fake and by a real MLServer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from overbook.agent.servers.protocol import PreparedModel
from tests.fakes.fake_server import BEHAVIOUR_FILE, Script

_CODE = """
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
        answer = NumpyCodec.encode_output("answer", np.array([self.script["answer"]]))
        return InferenceResponse(model_name=self.name, outputs=[answer])
"""


def scripted_model(folder: Path, name: str, script: Script, generation: int = 1) -> PreparedModel:
    """Write the artifact and describe it. Every one ships a ``model.py``, on purpose."""
    artifact = folder / f"{name}-{generation}"
    artifact.mkdir(parents=True, exist_ok=True)
    (artifact / "model.py").write_text(_CODE)
    (artifact / "model-settings.json").write_text(
        json.dumps({"name": "anything", "implementation": "model.Scripted"})
    )
    (artifact / BEHAVIOUR_FILE).write_text(json.dumps(dataclasses.asdict(script)))
    return PreparedModel(name=name, generation=generation, artifact=artifact)
