"""Each load of a model has metrics of its own: no name clashes, no second load fails, nothing stays of what left."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration import mlserver_harness

SCRIPT = Path(__file__).parent / "inside" / "books.py"


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    runtime = mlserver_harness.runtime()
    command = [*map(str, (runtime.python, "-I", SCRIPT, runtime.plugin))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_a_name_is_each_models_own_and_of_any_kind(found: dict[str, Any]) -> None:
    labels = 'model_name="{}",model_version=""'
    assert found["shown"] == {
        "one": ["rows_total 1.0", f"size_sum{{{labels.format('one')}}} 2.0"],
        "gauge": ["rows 1.0", f"size_sum{{{labels.format('gauge')}}} 1.0"],
    }


def test_what_leaves_says_what_it_counted_once(found: dict[str, Any]) -> None:
    assert found["replaced"] == ["rows_total 1.0"]
    # A gauge of what is not there any more says nothing.
    assert found["left"] == [['size_sum{model_name="gauge",model_version=""} 1.0'], None]


def test_requests_are_counted_under_mlservers_names(found: dict[str, Any]) -> None:
    assert found["requests"] == [
        "model_infer_request_success_total 0.0",
        "model_infer_request_failure_total 1.0",
        "model_infer_request_duration_count 1.0",
        "model_infer_request_duration_sum 0.5",
    ]


def test_nothing_of_what_left_comes_back_or_stays(found: dict[str, Any]) -> None:
    assert found["again"] == ["rows 1.0"]
    assert found["none for all"] == [0, 0]


def test_a_gauge_that_hangs_is_passed_over_until_it_does_not(found: dict[str, Any]) -> None:
    first, second = found["hangs"]
    assert first[0] == ["gauge", "one"]
    assert second == [["gauge", "hangs", "one"], {"hangs": 1}]
    assert found["released"] is True
