"""Custom MLServer models that treat memory badly, each in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CODE: Final = """
import subprocess
import sys

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

MB = 1_000_000


def block(megabytes):
    return np.ones(int(megabytes * MB) // 8)


class Heavy(MLModel):
    async def load(self):
        self.how = self.settings.parameters.extra
        self.kept = block(self.how.get("size", 0))
        if leak := self.how.get("leak"):
            # An own reference that nobody drops: the memory stays for good.
            self.leaked = block(leak)
            import ctypes
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.leaked))
        if child := self.how.get("child"):
            code = f"import sys; held = b'x' * {int(child * MB)}; print('ready', flush=True); sys.stdin.read()"
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.child = subprocess.Popen([sys.executable, "-S", "-c", code], **pipes)
            self.child.stdout.readline()
        return True

    async def unload(self):
        if self.how.get("child"):
            self.child.kill()
            self.child.communicate()
        return True

    async def predict(self, payload):
        data = NumpyCodec.decode_input(payload.inputs[0])
        if grow := self.how.get("grow"):
            self.grown = getattr(self, "grown", None)
            if self.grown is None:
                self.grown = block(grow)
        if borrow := self.how.get("borrow"):
            borrowed = block(borrow)
            data = data + 0 * borrowed[: data.size].reshape(data.shape)
            import asyncio
            await asyncio.sleep(0.3)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("same", data)]
        )
"""
INPUTS: Final[NDArray[np.float64]] = np.arange(6, dtype=np.float64).reshape(2, 3)


def heavy_model(folder: Path, name: str, **how: float) -> Path:
    """Answers with its input. Megabytes: ``size`` while loaded, ``leak`` per load for good, ``child`` in a
    child process, ``grow`` from the first inference on, ``borrow`` during each inference.
    """
    home = folder / name
    home.mkdir(parents=True)
    (home / "model.py").write_text(_CODE)
    settings: dict[str, Any] = {
        "name": name,
        "implementation": "model.Heavy",
        "parameters": {"extra": how},
    }
    (home / "model-settings.json").write_text(json.dumps(settings))
    return home
