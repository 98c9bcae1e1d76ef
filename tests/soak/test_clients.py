"""Load as a client's measuring tool makes it: tritonclient on both protocols and both servers, without one error."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from numpy.typing import NDArray

from tests.e2e.process import Overbook, model_manifest, server_manifest
from tests.e2e.zoo import TrainedModel, train
from tests.integration import onnx_models

MINUTES = 10.0
CLIENTS = 8
SKLEARN, ONNX = 8, 6
# Room for half of what is on each server.
MLSERVER_BYTES = 8_000_000
TRITON_PROCESS = 60_000_000

Array = NDArray[Any]
Ask = Callable[[str, dict[str, Array], str], Array]


@dataclass(frozen=True, slots=True)
class Case:
    """A model, a request, the tensor that is looked at in the answer, and what it must be."""

    model: str
    inputs: dict[str, Array]
    output: str
    expected: Array


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    trained = [
        train(tmp_path, f"tabular-{number}", megabytes=2.0, seed=number)
        for number in range(SKLEARN)
    ]
    found = [_tabular(model) for model in trained]
    a, b = np.arange(16, dtype=np.int32), np.full(16, 3, dtype=np.int32)
    for number in range(ONNX):
        onnx_models.add_sub(tmp_path / f"graph-{number}" / "model.onnx")
        found.append(Case(f"graph-{number}", {"a": a + number, "b": b}, "sum", a + number + b))
    return found


def _tabular(model: TrainedModel) -> Case:
    return Case(model.name, {"x": model.inputs}, "predict", model.expected)


@pytest.fixture
def running(tmp_path: Path, cases: list[Case]) -> Iterator[Overbook]:
    with Overbook(tmp_path / "up") as overbook:
        triton = server_manifest(
            ONNX // 2 * TRITON_PROCESS,
            name="triton",
            serverConfig="triton",
            overcommitPercentage=300,
        )
        models = []
        for case in cases:
            tabular = case.model.startswith("tabular")
            models.append(
                model_manifest(
                    case.model,
                    tmp_path / case.model,
                    requirements=["sklearn"] if tabular else ["onnx", "triton"],
                    memory=2_000_000 if tabular else TRITON_PROCESS,
                )
            )
        server = server_manifest(MLSERVER_BYTES, overcommitPercentage=300)
        applied = overbook.apply(server, triton, *models)
        assert applied.code == 0, applied.err
        yield overbook


def _rest(port: int) -> Ask:
    client = triton_http.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=60)

    def ask(model: str, inputs: dict[str, Array], output: str) -> Array:
        tensors = [_filled(triton_http.InferInput, *each) for each in inputs.items()]
        return _tensor(client.infer(model, tensors), output)

    return ask


def _grpc(port: int) -> Ask:
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{port}")

    def ask(model: str, inputs: dict[str, Array], output: str) -> Array:
        tensors = [_filled(triton_grpc.InferInput, *each) for each in inputs.items()]
        return _tensor(client.infer(model, tensors, client_timeout=60), output)

    return ask


def _filled(kind: Any, name: str, array: Array) -> Any:
    datatype = {"int32": "INT32", "float64": "FP64"}[str(array.dtype)]
    tensor = kind(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def _tensor(answer: Any, name: str) -> Array:
    found: Array = answer.as_numpy(name)
    return found.ravel()


@pytest.mark.soak
def test_ten_minutes_of_clients_without_an_error(running: Overbook, cases: list[Case]) -> None:
    end = time.monotonic() + 60 * float(os.environ.get("OVERBOOK_SOAK_MINUTES", MINUTES))
    problems: list[str] = []
    answered: Counter[str] = Counter()

    def work(number: int) -> None:
        protocol = "gRPC" if number % 2 else "REST"
        ask = (_grpc if number % 2 else _rest)(running.port)
        dice = random.Random(number)
        # Some models are asked far more often than others, as everywhere.
        weights = [1 / (rank + 1) for rank in range(len(cases))]
        while time.monotonic() < end:
            (case,) = dice.choices(cases, weights)
            try:
                got = ask(case.model, case.inputs, case.output)
                np.testing.assert_allclose(got, case.expected.ravel(), rtol=1e-9)
            except Exception as error:
                problems.append(f"{protocol} {case.model}: {error}")
            else:
                answered[protocol] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert min(answered["REST"], answered["gRPC"]) > 100
    assert running.total("evictions") > 10
