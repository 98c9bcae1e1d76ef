"""Settings without effect are named, with what to do instead; those that change nothing are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overbook.agent.servers.mlserver.overridden import of_model, of_server
from overbook.agent.servers.mlserver.settings import without_effect
from overbook.agent.servers.protocol import ModelRejected, PreparedModel


def test_of_a_models_settings() -> None:
    given = {
        "implementation": "model.Mine",
        "parallel_workers": 4,
        "warm_workers": False,
        "parameters": {"uri": "./x", "inference_pool_gid": "7"},
    }
    assert list(of_model(given)) == [
        "model-settings.json: parallel_workers has no effect: more processes come with more replicas of the Model or "
        "its Server",
        "model-settings.json: parameters.inference_pool_gid has no effect: there are no worker processes",
    ]
    assert list(of_model({"implementation": "x.Y", "parallel_workers": 0, "parameters": 3})) == []


def test_of_a_servers_settings_all_are_named_up_to_a_number() -> None:
    assert of_server({}) == ""
    assert of_server({"debug": True}).endswith("that all its models share: debug")
    said = of_server({f"field_{number}": 1 for number in range(10)} | {"parallel_workers": 2})
    assert "field_7 and 3 more; more processes come with more replicas" in said


def test_they_are_found_in_the_artifact_and_in_its_version_folder(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "settings.json").write_text('{"parallel_workers": 2}')
    own = {"implementation": "model.Mine", "cache_enabled": True}
    (tmp_path / "2" / "model-settings.json").write_text(json.dumps(own))
    (tmp_path / "2" / "settings.json").write_text('{"debug": false}')
    model = PreparedModel("iris", 1, tmp_path)
    assert [each.split(" has")[0] for each in without_effect(model)] == [
        "settings.json",
        "settings.json",
        "model-settings.json: cache_enabled",
    ]
    (tmp_path / "settings.json").write_text("no json")
    with pytest.raises(ModelRejected, match=r"iris: settings\.json cannot be read"):
        without_effect(model)
