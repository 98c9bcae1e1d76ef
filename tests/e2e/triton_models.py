"""Python models for a real Triton, each with an answer of its own, and a caller that asks them over both protocols."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

_SECONDS = 60.0
_CONFIG = """
backend: "python"
input [{ name: "x" data_type: TYPE_FP64 dims: [-1] }]
output [{ name: "y" data_type: TYPE_FP64 dims: [-1] }]
"""
_CODE = """
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            if x[0] == 666.0:
                os._exit(3)
            if x[0] == 13.0:
                raise ValueError("thirteen is unlucky")
            time.sleep({seconds})
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x * {factor})]))
        return answers
"""
POISON, UNLUCKY = 666.0, 13.0


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A model that multiplies by its factor."""

    name: str
    folder: Path
    factor: float


def multiplier(folder: Path, name: str, factor: float, *, seconds: float = 0.0) -> Multiplier:
    """``seconds``: how long each of its answers takes."""
    home = folder / name
    (home / "1").mkdir(parents=True)
    (home / "config.pbtxt").write_text(_CONFIG)
    (home / "1" / "model.py").write_text(_CODE.format(factor=factor, seconds=seconds))
    return Multiplier(name, home, factor)


class Client:
    """One thread's way to all models. A context manager."""

    def __init__(self, port: int) -> None:
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_SECONDS)
        self._grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._grpc.close()

    def post(self, name: str, value: float, path: str = "infer") -> httpx.Response:
        tensor = {"name": "x", "datatype": "FP64", "shape": [2], "data": [value, 1.0]}
        return self._http.post(f"/v2/models/{name}/{path}", json={"inputs": [tensor]})

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path)

    def index(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self._http.post("/v2/repository/index").json()
        return found

    def rest(self, model: Multiplier, value: float) -> list[float]:
        """Raises AssertionError with what came instead of an answer."""
        response = self.post(model.name, value)
        assert response.status_code == 200, f"REST: {response.status_code} {response.text}"
        found: list[float] = response.json()["outputs"][0]["data"]
        return found

    def grpc(self, model: Multiplier, value: float, **options: Any) -> list[float]:
        """Raises AssertionError with what came instead of an answer."""
        tensor = tritonclient.grpc.InferInput("x", [2], "FP64")
        tensor.set_data_from_numpy(np.array([value, 1.0]))
        try:
            answer = self._grpc.infer(model.name, [tensor], client_timeout=_SECONDS, **options)
        except InferenceServerException as error:
            raise AssertionError(f"gRPC: {error}") from None
        found: list[float] = answer.as_numpy("y").tolist()
        return found


class Load:
    """Threads that ask until left; then no request may have failed. ``slowest``: seconds, by model."""

    def __init__(self, port: int, models: Sequence[Multiplier], *, threads: int = 2) -> None:
        self._port = port
        self._over = threading.Event()
        self.answers = dict.fromkeys((model.name for model in models), 0)
        self.slowest = dict.fromkeys(self.answers, 0.0)
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(model, number), name=f"load {model.name}")
            for model in models
            for number in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert self.failures == [], self.failures[:5]
        assert all(self.answers.values()), self.answers

    def _ask(self, model: Multiplier, number: int) -> None:
        with Client(self._port) as client:
            ways: list[Callable[[Multiplier, float], list[float]]] = [client.rest, client.grpc]
            while not self._over.is_set():
                number += 1
                value = float(1000 + number)
                began = time.monotonic()
                try:
                    answer = ways[number % 2](model, value)
                    assert answer == [value * model.factor, model.factor], f"wrong: {answer}"
                    self.answers[model.name] += 1
                except (AssertionError, httpx.HTTPError) as error:
                    self.failures.append(f"{model.name}: {type(error).__name__} {error}")
                took = time.monotonic() - began
                self.slowest[model.name] = max(self.slowest[model.name], took)
                self._over.wait(0.01)
