"""Models as an MLServer of somebody else finds them in its own folder."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from overbook.agent.servers.attached_folder import SharedFolder
from overbook.agent.servers.attached_kinds import AttachedMlserver
from overbook.agent.servers.protocol import ModelRejected, PreparedModel


def shared(tmp_path: Path) -> SharedFolder:
    (tmp_path / "shared").mkdir()
    folder = SharedFolder(tmp_path / "shared")
    folder.open()
    folder.begin("iris", "d")
    return folder


def artifact(tmp_path: Path, files: dict[str, str], *requirements: str) -> PreparedModel:
    root = tmp_path / "artifact"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o400)
    return PreparedModel("iris", 1, root, requirements)


def test_a_plain_file_gets_settings_that_hold_wherever_the_server_sees_it(tmp_path: Path) -> None:
    folder = shared(tmp_path)
    AttachedMlserver().publish(artifact(tmp_path, {"model.joblib": "x"}), folder)
    place = folder.path / "iris"
    assert json.loads((place / "model-settings.json").read_text()) == {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib"},
    }
    assert (place / "model.joblib").read_text() == "x"
    assert stat.S_IMODE((place / "model.joblib").stat().st_mode) == 0o644
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


def test_own_settings_and_code_are_taken_along_but_no_second_settings(tmp_path: Path) -> None:
    settings = json.dumps({"implementation": "model.Mine", "parameters": {"uri": "weights/w"}})
    files = {
        "model-settings.json": settings,
        "model.py": "",
        "weights/w": "w",
        "weights/model-settings.json": "{}",
    }
    folder = shared(tmp_path)
    AttachedMlserver().publish(artifact(tmp_path, files), folder)
    place = folder.path / "iris"
    told = json.loads((place / "model-settings.json").read_text())
    assert told["parameters"]["uri"] == "./weights/w"
    assert told["implementation"] == "model.Mine"
    found = {str(each.relative_to(place)) for each in place.rglob("*") if each.is_file()}
    assert found == {"model-settings.json", "model.py", "weights/w"}


def test_classes_of_ours_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="is part of Overbook's own MLServer"):
        AttachedMlserver().validate(artifact(tmp_path, {"model.onnx": "x"}, "onnx"))


def test_files_outside_the_folder_are_not_there(tmp_path: Path) -> None:
    settings = json.dumps({"implementation": "a.B", "parameters": {"uri": "../weights"}})
    model = artifact(tmp_path, {"2/model-settings.json": settings, "weights": "w"})
    with pytest.raises(ModelRejected, match=r"leads out of the folder with model-settings.json"):
        AttachedMlserver().validate(model)


def test_an_address_of_another_system_stays_as_it_is(tmp_path: Path) -> None:
    settings = json.dumps({"implementation": "a.B", "parameters": {"uri": "s3://bucket/w"}})
    folder = shared(tmp_path)
    AttachedMlserver().publish(artifact(tmp_path, {"model-settings.json": settings}), folder)
    told = json.loads((folder.path / "iris" / "model-settings.json").read_text())
    assert told["parameters"]["uri"] == "s3://bucket/w"
