"""Custom MLServer models that misbehave, each in its own way: what they do is in their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

_CODE: Final = '''
import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

# What an input of this size makes it do; all else is answered.
TRIGGER = 13.0


def block_loop(self, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def wait(self, seconds):
    await asyncio.sleep(seconds)


def leave(self, code):
    os._exit(code)


def leave_politely(self, code):
    sys.exit(code)


def crash(self, number):
    os.kill(os.getpid(), number)


def segfault(self, _):
    ctypes.string_at(0)


def fail(self, text):
    raise RuntimeError(text)


def fail_oddly(self, _):
    class Odd(Exception):
        def __str__(self):
            raise ValueError("not even this")

    raise Odd


def recurse(self, _):
    return recurse(self, _)


def exhaust(self, _):
    raise MemoryError("cannot allocate")


def daemonise(self, seconds):
    """A child that holds whatever is open here, the server's ports among it."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(seconds)
        os._exit(0)


def start_program(self, seconds):
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True)


def leak(self, size):
    if not hasattr(MLModel, "leaked"):
        MLModel.leaked = []
    MLModel.leaked.append(np.ones(size // 8))


def chatter(self, size):
    print("x" * 1000 * (size // 1000))


def threads(self, count):
    import threading

    for _ in range(count):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()


class Misbehaving(MLModel):
    async def _do(self, when):
        for name, argument in self.settings.parameters.extra.get(when, {}).items():
            done = globals()[name](self, argument)
            if asyncio.iscoroutine(done):
                await done

    async def load(self):
        await self._do("at_load")
        return self.settings.parameters.extra.get("loaded", True)

    async def unload(self):
        await self._do("at_unload")
        return True

    async def predict(self, payload):
        data = NumpyCodec.decode_input(payload.inputs[0])
        if data.ravel()[0] == TRIGGER:
            await self._do("at_trigger")
        await self._do("at_predict")
        answer = NumpyCodec.encode_output("same", data)
        if "shape" in self.settings.parameters.extra:
            answer.shape = self.settings.parameters.extra["shape"]
        return InferenceResponse(model_name=self.name, outputs=[answer])
'''
TRIGGER: Final = 13.0


def misbehaving(folder: Path, name: str, **extra: Mapping[str, Any] | Any) -> Path:
    """A model whose ``at_load``, ``at_predict``, ``at_trigger`` and ``at_unload`` say what it does then."""
    home = folder / name
    home.mkdir(parents=True)
    (home / "misbehaving.py").write_text(_CODE)
    settings = {
        "name": name,
        "implementation": "misbehaving.Misbehaving",
        "parameters": {"extra": extra},
    }
    (home / "model-settings.json").write_text(json.dumps(settings))
    return home


def ask(
    client: httpx.Client, name: str, value: float = 1.0, seconds: float = 30.0
) -> httpx.Response:
    """One request; `TRIGGER` is the value that some models do not bear."""
    data = np.full((1, 3), value)
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 3], "data": data.ravel().tolist()}
    return client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}, timeout=seconds)
