"""Custom MLServer models that treat memory badly, each in its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_CODE: Final = """
import os

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
        if fork := self.how.get("fork"):
            ready, tell = os.pipe()
            self.child = os.fork()
            if self.child == 0:
                import time
                held = block(fork)
                os.write(tell, b"1")
                while os.getppid() != 1:
                    time.sleep(0.2)
                os._exit(0)
            os.read(ready, 1)
        return True

    async def unload(self):
        if self.how.get("fork"):
            import signal
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
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
    """Answers with its input. Megabytes: ``size`` while loaded, ``leak`` per load for good, ``fork`` in a child
    process, ``grow`` from the first inference on, ``borrow`` during each inference.
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
