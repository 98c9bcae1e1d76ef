"""A real Triton with its backends, and artifacts for it: what the tests of both share."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton_grpc
from numpy.typing import NDArray
from tritonclient.utils import np_to_triton_dtype

from overbook.agent.servers.protocol import PreparedModel
from overbook.agent.servers.triton.server import TritonConfig, TritonServer
from overbook.runtimes.install import RuntimeEnvironment, environment, install

CALL = 60.0
Array = NDArray[Any]


def runtime() -> RuntimeEnvironment:
    """Installed once per machine, with its default extras at least."""
    install("triton", lambda _message, _fraction: None)
    return environment("triton")


def server(state: Path) -> TritonServer:
    made = runtime()
    return TritonServer(
        TritonConfig(python=made.python, plugin=made.plugin, state=state, extras=made.extras)
    )


def saved_models(folder: Path) -> Path:
    """Write those of `inside/saved_models.py`."""
    return written_inside("saved_models.py", folder)


def written_inside(script: str, folder: Path) -> Path:
    """Have a script of `inside/` write models, with the frameworks of the runtime's own environment."""
    path = Path(__file__).parent / "inside" / script
    done = subprocess.run(
        [str(runtime().python), "-W", "ignore", str(path), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def model(name: str, artifact: Path, config: str = "", generation: int = 1) -> PreparedModel:
    """An artifact, with a configuration of the user's when ``config`` is given."""
    if config:
        (artifact / "config.pbtxt").write_text(config)
    return PreparedModel(name, generation, artifact)


class Client:
    """tritonclient over gRPC, with arrays in and out."""

    def __init__(self, address: str) -> None:
        self.raw = triton_grpc.InferenceServerClient(address)

    async def close(self) -> None:
        await self.raw.close()

    async def infer(
        self, name: str, inputs: Mapping[str, Array], outputs: tuple[str, ...] = ()
    ) -> dict[str, Array]:
        tensors = []
        for key, array in inputs.items():
            tensor = triton_grpc.InferInput(key, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = [triton_grpc.InferRequestedOutput(each) for each in outputs] or None
        result = await self.raw.infer(name, tensors, outputs=wanted, client_timeout=CALL)
        return {
            each.name: np.asarray(result.as_numpy(each.name))
            for each in result.get_response().outputs
        }


def texts(*words: str | bytes) -> Array:
    made = np.empty(len(words), dtype=np.object_)
    made[:] = [each.encode() if isinstance(each, str) else each for each in words]
    return made
