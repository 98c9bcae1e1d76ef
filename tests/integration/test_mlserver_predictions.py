"""Which predictions leave MLServer's event loop; what they answer is the same."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration import mlserver_harness

SCRIPT = Path(__file__).parent / "inside" / "predictions.py"
ALL, NONE, FIRST = [False] * 3, [True] * 3, [False, True, True]
ON_LOOP = {
    "native-short": FIRST,
    "native-slow": ALL,
    "native-fails": ALL,
    "native-in-batches": NONE,
    "native-own-code": NONE,
    "long-load": FIRST,
    "short-load": NONE,
    "onnx": NONE,
    "unknown": NONE,
}


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[bool, str]]]:
    runtime = mlserver_harness.runtime()
    command = [*map(str, (runtime.python, "-I", SCRIPT, runtime.plugin))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answers: dict[str, list[tuple[bool, str]]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("model", list(ON_LOOP))
def test_where_it_runs(found: dict[str, list[tuple[bool, str]]], model: str) -> None:
    assert [on_loop for on_loop, _ in found[model]] == ON_LOOP[model]
    expected = "no such output" if model == "native-fails" else f"{model} 7 1.5"
    assert {answer for _, answer in found[model]} == {expected}
