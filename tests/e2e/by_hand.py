"""Inference servers as people start them themselves, without Overbook, with two models of theirs loaded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx

from overbook.runtimes.install import environment
from tests.e2e.process import free_ports, wait_until
from tests.e2e.zoo import TrainedModel


class HandStarted:
    """A server of somebody else. Use as a context manager; `kill` and `start` as its owner might."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "models"
        self.repository.mkdir(parents=True, exist_ok=True)
        self.rest_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def variables(self) -> Mapping[str, str]:
        return {}

    @property
    def rest(self) -> str:
        return f"127.0.0.1:{self.rest_port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=os.environ | dict(self.variables()),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until("the server is live", self.live, seconds=60)

    def live(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://{self.rest}/v2/health/live").status_code == 200
        return False

    def ready(self, model: str) -> bool:
        return httpx.get(f"http://{self.rest}/v2/models/{model}/ready").status_code == 200

    def infer(self, model: str, *inputs: object) -> list[float]:
        """Its first output, asked directly."""
        url = f"http://{self.rest}/v2/models/{model}/infer"
        reply = httpx.post(url, json={"inputs": inputs}).raise_for_status()
        return list(reply.json()["outputs"][0]["data"])

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def server(self, name: str, memory: str, **spec: object) -> dict[str, object]:
        """The manifest of a Server that uses it."""
        return {
            "apiVersion": "overbook.dev/v1alpha1",
            "kind": "Server",
            "metadata": {"name": name},
            "spec": {
                "memory": memory,
                "address": {"rest": self.rest, "grpc": f"localhost:{self.grpc_port}"},
                "modelRepository": {"path": str(self.repository)},
                **spec,
            },
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


class StockMlserver(HandStarted):
    """`mlserver start FOLDER`, none of Overbook's code in it."""

    def command(self) -> Sequence[str]:
        return (str(environment("mlserver").root / "bin" / "mlserver"), "start", "models")

    def variables(self) -> Mapping[str, str]:
        return {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": str(self.rest_port),
            "MLSERVER_GRPC_PORT": str(self.grpc_port),
            "MLSERVER_METRICS_PORT": str(self.metrics_port),
            "MLSERVER_PARALLEL_WORKERS": "0",
        }

    def put(self, name: str, model: TrainedModel) -> None:
        """A model of its owner's, loaded when it starts."""
        shutil.copytree(model.folder, self.repository / name)
        (self.repository / name / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": name,
                    "implementation": "mlserver_sklearn.SKLearnModel",
                    "parameters": {"uri": "./model.joblib"},
                }
            )
        )


_TRITON = """
import os, sys
from overbook_triton import layout
installed = layout.find()
layout.make_backends(installed, "backends")
command = [str(installed.server), *sys.argv[1:]]
os.execve(command[0], command, layout.environment(installed, os.environ))
"""
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "x", data_type: TYPE_INT32, dims: [ -1 ] }} ]
output [ {{ name: "y", data_type: TYPE_INT32, dims: [ -1 ] }} ]
instance_group [ {{ kind: KIND_CPU, count: 1 }} ]
"""
_MODEL = """
import os

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.ballast = bytearray(os.urandom(1000)) * {thousands}

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(
                        "y", pb_utils.get_input_tensor_by_name(each, "x").as_numpy() + {number}
                    )
                ]
            )
            for each in requests
        ]
"""


def triton_model(folder: Path, number: int, *, megabytes: int = 0) -> None:
    """A Python model that adds ``number`` and holds some memory, as Triton's users write them."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG.format(name=folder.name))
    (folder / "1" / "model.py").write_text(
        _MODEL.replace("{number}", str(number)).replace("{thousands}", str(1000 * megabytes))
    )


class HandTriton(HandStarted):
    """tritonserver with its own flags; ``models`` are loaded when it starts. ``mode``: of model control."""

    def __init__(self, folder: Path, models: Sequence[str] = (), mode: str = "explicit") -> None:
        super().__init__(folder)
        self._models = models
        self._mode = mode
        self._segments = f"hand-{os.getpid()}-{self.rest_port}-"

    def command(self) -> Sequence[str]:
        return (
            *(str(environment("triton").python), "-c", _TRITON),
            *("--http-address=127.0.0.1", f"--http-port={self.rest_port}"),
            *("--grpc-address=127.0.0.1", f"--grpc-port={self.grpc_port}"),
            *("--allow-metrics=false", "--model-repository=models", "--backend-directory=backends"),
            f"--model-control-mode={self._mode}",
            *(f"--load-model={name}" for name in self._models),
            f"--backend-config=python,shm-region-prefix-name={self._segments}",
            *("--cuda-memory-pool-byte-size=0:0", "--pinned-memory-pool-byte-size=0"),
        )

    def variables(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(environment("triton").plugin)}

    def kill(self) -> None:
        """A killed Triton leaves the shared memory of its Python models behind."""
        super().kill()
        for left in Path("/dev/shm").glob(f"{self._segments}*"):
            left.unlink(missing_ok=True)
