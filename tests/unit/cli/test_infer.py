"""`overbook infer` and `metadata`: what they ask of the data plane, and print."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import REQUEST, FakeOverbook, model


def test_metadata(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    assert overbook("metadata", "iris").stdout.splitlines() == [
        "Name:      iris",
        "Platform:  sklearn",
        "Versions:  1",
        "",
        "Inputs",
        "NAME  DATATYPE  SHAPE",
        "x     FP32      ? x 4",
        "",
        "Outputs",
        "not known; the model's files do not say",
    ]
    said = json.loads(overbook("metadata", "iris", "-o", "json").stdout)
    assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert overbook("metadata", "rose").stderr == "Error: model 'rose' is not registered\n"


def test_infer(overbook: Overbook, fake: FakeOverbook, tmp_path: Path) -> None:
    fake.add(model("iris"))
    text = json.dumps(REQUEST)
    file = tmp_path / "request.json"
    file.write_text(text)
    for given in (text, f"@{file}", "-"):
        result = overbook("infer", "iris", given, stdin=text)
        assert json.loads(result.stdout) == {"model_name": "iris", "outputs": REQUEST["inputs"]}
    assert len(result.stdout.splitlines()) == 6


def test_infer_failures(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.refusals["broken"] = (503, "load failed: invalid load key")
    result = overbook("infer", "broken", json.dumps(REQUEST))
    assert (result.exit_code, result.stderr) == (1, "Error: load failed: invalid load key\n")
    assert overbook("infer", "nope", json.dumps(REQUEST)).exit_code == 1


def test_infer_sends_headers(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    overbook("infer", "iris", json.dumps(REQUEST), "-H", "x-request-id: 7", "-H", "a:b: c")
    assert {"x-request-id": "7", "a": "b: c"}.items() <= fake.headers[-1].items()
    wrong = overbook("infer", "iris", json.dumps(REQUEST), "-H", "no header")
    assert wrong.exit_code == 2
    assert "'no header' is not a header; expected 'NAME: VALUE'" in wrong.stderr


def test_infer_for_some_time(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    result = overbook("infer", "iris", json.dumps(REQUEST), "--seconds", "0.05")
    assert result.exit_code == 0
    assert re.match(r"\d+ requests? in \d+\.\d\d s \(\d+/s\), 0 errors\nfirst ", result.stdout)
    both = overbook("infer", "iris", json.dumps(REQUEST), "--seconds", "60", "-n", "2")
    assert both.stdout.startswith("2 requests in ")


def test_infer_a_file_of_requests(overbook: Overbook, fake: FakeOverbook, tmp_path: Path) -> None:
    fake.add(model("iris"))
    path = tmp_path / "requests.jsonl"
    second = {"inputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [7.0]}]}
    path.write_text(f"{json.dumps(REQUEST)}\n\n{json.dumps(second)}\n")
    result = overbook("infer", "iris", "-f", str(path))
    assert result.exit_code == 0
    answers = [json.loads(line)["outputs"] for line in result.stdout.splitlines()]
    assert answers == [REQUEST["inputs"], second["inputs"]]
    assert re.match(r"2 requests in .*, 0 errors\nfirst .*p50 .*p99 .*max ", result.stderr)
    assert overbook("infer", "iris", "-f", "-", stdin=path.read_text()).stdout == result.stdout
    often = overbook("infer", "iris", "-f", str(path), "-n", "5")
    assert often.stdout.startswith("5 requests in ")
    fake.refusals["broken"] = (500, "no")
    failed = overbook("infer", "broken", "-f", str(path))
    assert (failed.exit_code, failed.stdout) == (1, "")
    lines = failed.stderr.splitlines()
    assert lines[:2] == [f"{path}:1: no", f"{path}:3: no"]
    assert lines[-1] == "Error: 2 of 2 requests failed"


def test_a_wrong_file_of_requests_asks_nothing(
    overbook: Overbook, fake: FakeOverbook, tmp_path: Path
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(f"{json.dumps(REQUEST)}\nnonsense\n[]\n")
    result = overbook("infer", "iris", "-f", str(path))
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{path}:2: not JSON: ")
    assert second.startswith(f"{path}:3: expected an Open Inference Protocol request")
    path.write_text("\n")
    empty = overbook("infer", "iris", "-f", str(path)).stderr
    assert empty == f"Error: {path}: no requests in it; expected a JSON object on each line\n"
    assert "cannot be read" in overbook("infer", "iris", "-f", str(tmp_path / "none")).stderr
    assert overbook("infer", "iris").exit_code == 2
    assert overbook("infer", "iris", json.dumps(REQUEST), "-f", str(path)).exit_code == 2
    assert fake.requests == []


def test_infer_many_times(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"))
    result = overbook("infer", "iris", json.dumps(REQUEST), "-n", "20")
    first, second = result.stdout.splitlines()
    assert first.startswith("20 requests in ")
    assert first.endswith("0 errors")
    assert [each.split()[0] for each in second.split(", ")] == ["first", "p50", "p99", "max"]
    fake.refusals["iris"] = (503, "busy")
    failed = overbook("infer", "iris", json.dumps(REQUEST), "-n", "3")
    assert failed.exit_code == 1
    assert failed.stdout.rstrip().endswith("3 errors")
    assert failed.stderr == "Error: busy\n"
