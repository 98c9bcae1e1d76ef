"""Models that leak at every load, for minutes, on the real servers: what is lost is bounded, and nobody notices."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.heavy import INPUTS, heavy_model
from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.steady import Asker, Steady
from tests.e2e.zoo import train
from tests.soak.record import MB, Moment, Recorder, draw

pytestmark = pytest.mark.soak

BUDGET = int(500 * MB)

_TRITON_CONFIG = """
name: "leaks"
backend: "python"
max_batch_size: 0
input [ { name: "x", data_type: TYPE_FP64, dims: [ -1, 3 ] } ]
output [ { name: "same", data_type: TYPE_FP64, dims: [ -1, 3 ] } ]
"""
_TRITON_MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    leaked = []

    def initialize(self, args):
        self.kept = np.ones(50_000_000 // 8)

    def execute(self, requests):
        # It leaks at every inference, into its own process.
        self.leaked.append(np.ones(20_000_000 // 8))
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("same", pb_utils.get_input_tensor_by_name(r, "x").as_numpy())]
            )
            for r in requests
        ]
"""


def _evict(running: Overbook, name: str) -> None:
    assert running.run("evict", name).code == 0
    wait_until(f"{name} is cold", lambda: running.states()[name] == "cold", seconds=20)


def _count(running: Overbook, reason: str) -> int:
    events = running.api.get("/api/v1/events").json()["events"]
    return sum(1 for event in events if event["reason"] == reason)


def _summary(what: str, moments: list[Moment], cycles: int, replaced: int) -> str:
    highest = max(moment.held - moment.base for moment in moments)
    return (
        f"\n{what}: {cycles} loads, {replaced} processes replaced, highest {highest / MB:.1f} MB beyond the "
        f"base with a budget of {BUDGET / MB:.0f} MB"
    )


def test_a_leak_at_every_load_on_mlserver(home: Path, minutes: float, pictures: Path) -> None:
    leak = int(20 * MB)
    hot = train(home / "models", "hot", megabytes=5.0, seed=1)
    folder = heavy_model(home / "models", "leaks", size=50, leak=leak / MB)
    with Overbook(home / "leak") as running:
        assert running.apply(server_manifest(BUDGET)).code == 0
        cycles, end = 0, time.monotonic() + min(minutes, 5.0) * 60
        with Recorder(running) as recorder:
            time.sleep(1.0)
            applied = running.apply(
                model_manifest(hot.name, hot.folder),
                model_manifest("leaks", folder, requirements=["python"], memory=50_000_000),
            )
            assert applied.code == 0, applied.err
            with Steady(running.port, hot) as steady:
                while time.monotonic() < end:
                    cycles += 1
                    with Asker(running.port, "leaks", INPUTS) as asker:
                        assert asker.answer(0) == INPUTS.ravel().tolist()
                    _evict(running, "leaks")
        replaced = _count(running, "ServerRecycled")
        assert _count(running, "ServerDied") == 0
    moments = recorder.moments
    draw(
        moments,
        BUDGET,
        f"MLServer: a model of 50 MB that leaks {leak / MB:.0f} MB at each of {cycles} loads; "
        f"{replaced} processes replaced (dotted)",
        pictures / "leak-mlserver.png",
    )
    print(_summary("MLServer", moments, cycles, replaced), f"{steady.answers} answers, 0 failures")
    assert replaced >= 1
    highest = max(moment.held - moment.base for moment in moments)
    assert highest <= BUDGET, "without replacing it would hold all that leaked"
    assert cycles * leak > BUDGET


def test_a_leak_at_every_inference_on_triton_goes_with_its_process(
    home: Path, minutes: float, pictures: Path
) -> None:
    folder = home / "models" / "leaks"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_TRITON_CONFIG)
    (folder / "1" / "model.py").write_text(_TRITON_MODEL)
    tensor = {
        "name": "x",
        "datatype": "FP64",
        "shape": list(INPUTS.shape),
        "data": INPUTS.ravel().tolist(),
    }
    with Overbook(home / "leak") as running:
        server = server_manifest(BUDGET, name="triton", serverConfig="triton")
        assert running.apply(server).code == 0
        cycles, end = 0, time.monotonic() + min(minutes, 5.0) * 60
        left: list[int] = []
        with (
            Recorder(running, server="triton") as recorder,
            httpx.Client(timeout=60) as client,
        ):
            time.sleep(1.0)
            applied = running.apply(
                model_manifest("leaks", folder, requirements=["triton"], memory=80_000_000)
            )
            assert applied.code == 0, applied.err
            while time.monotonic() < end:
                cycles += 1
                for _ in range(5):
                    url = f"http://127.0.0.1:{running.port}/v2/models/leaks/infer"
                    answer = client.post(url, json={"inputs": [tensor]})
                    assert answer.status_code == 200, answer.text
                _evict(running, "leaks")
                # Nobody else asks, so nothing is being loaded at this moment.
                moment = recorder.look()
                assert moment is not None
                left.append(moment.held - moment.base)
        assert _count(running, "ServerDied") == 0
        replaced = _count(running, "ServerRecycled")
    moments = recorder.moments
    draw(
        moments,
        BUDGET,
        f"Triton: a model of 50 MB that leaks 20 MB at each inference, {cycles} times loaded",
        pictures / "leak-triton.png",
    )
    print(_summary("Triton", moments, cycles, replaced))
    assert replaced == 0, "what leaks in a model's own process ends with it"
    assert max(left[len(left) // 2 :]) < 0.02 * BUDGET
