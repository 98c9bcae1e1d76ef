"""Ensembles: what they call, and what Triton is given for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.triton.config import describe, publish, published_callees
from overbook.agent.servers.triton.ensembles import callees
from overbook.agent.servers.triton.pbtxt import parse_config
from tests.unit.agent.servers.triton.artifacts import ALL, config, prepared

ENSEMBLE = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] label_filename: "labels.txt" } ]
ensemble_scheduling { step [
  { model_name: "scale" model_version: 3 input_map { key: "x" value: "x" } output_map { key: "y" value: "m" } },
  { model_name: "rank" model_version: -1 input_map { key: "x" value: "m" } output_map { key: "y" value: "y" } },
  { model_name: "scale" model_version: 1 }
] }
"""


def test_it_calls_what_its_steps_name_each_once(tmp_path: Path) -> None:
    config(tmp_path, ENSEMBLE)
    assert callees(tmp_path) == ("scale", "rank")


@pytest.mark.parametrize("text", ["", 'backend: "python"', "ensemble_scheduling {", "\udcff"])
def test_what_is_no_ensemble_calls_nobody(tmp_path: Path, text: str) -> None:
    assert callees(tmp_path) == ()
    (tmp_path / "config.pbtxt").write_bytes(text.encode(errors="surrogateescape"))
    assert callees(tmp_path) == ()
    assert callees(tmp_path / "config.pbtxt") == ()


@pytest.mark.parametrize("version", ["", "1", "7"])
def test_triton_gets_it_with_callees_as_they_are_registered(tmp_path: Path, version: str) -> None:
    artifact, repository = tmp_path / "artifact", tmp_path / "repository"
    artifact.mkdir()
    config(artifact, ENSEMBLE)
    (artifact / "labels.txt").write_text("a\nb\n")
    if version:
        (artifact / version).mkdir()
    publish(prepared(artifact), repository, offer=ALL)
    made = parse_config((repository / "m" / "config.pbtxt").read_bytes())
    assert (made.name, made.platform, made.backend) == ("m", "ensemble", "")
    assert [each.model_version for each in made.ensemble_scheduling.step] == [-1, -1, -1]
    assert not made.instance_group
    assert (repository / "m" / "1").is_dir()
    assert (repository / "m" / "labels.txt").read_text() == "a\nb\n"
    assert published_callees("m", repository) == ("scale", "rank")
    assert describe(prepared(artifact), ALL).max_batch_size == 0
