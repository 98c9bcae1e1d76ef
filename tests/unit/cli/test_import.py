"""`overbook import`: a manifest for each model in a repository, and a line for what is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.unit.agent.servers.formats.writing import onnx_model, onnx_tensor
from tests.unit.cli.conftest import Overbook

CONFIG = """
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    for name, files in {
        "simple": {"config.pbtxt": f'backend: "python"{CONFIG}', "1/model.py": "x = 1"},
        "ensemble": {
            "config.pbtxt": f'ensemble_scheduling {{ step {{ model_name: "simple" }} }}{CONFIG}'
        },
        "MyModel": {"model.joblib": "x"},
        "custom": {"model-settings.json": '{"implementation": "mine.Model"}', "mine.py": "x = 1"},
        ".git": {"HEAD": "x"},
    }.items():
        for file, text in files.items():
            (root / name / file).parent.mkdir(parents=True, exist_ok=True)
            (root / name / file).write_text(text)
    (root / "densenet_onnx" / "1").mkdir(parents=True)
    tensor = onnx_tensor("x", 1, [1])
    onnx_model(root / "densenet_onnx" / "1" / "model.onnx", [tensor], [tensor])
    (root / "README.md").write_text("x")
    return root


def test_each_folder_is_a_model(overbook: Overbook, repository: Path) -> None:
    result = overbook("import", str(repository))
    assert (result.exit_code, result.stderr) == (0, "")
    found = {each["metadata"]["name"]: each for each in yaml.safe_load_all(result.stdout)}
    assert {name: each["spec"].get("requirements") for name, each in found.items()} == {
        "MyModel": ["sklearn"],
        "custom": None,
        "densenet_onnx": ["onnx"],
        "ensemble": None,
        "simple": None,
    }
    assert found["simple"]["spec"]["storageUri"] == str(repository / "simple")
    assert overbook("validate", "-f", "-", stdin=result.stdout).exit_code == 0


def test_what_is_no_model_is_said_and_keeps_nobody_out(
    overbook: Overbook, repository: Path
) -> None:
    (repository / "empty").mkdir()
    (repository / "notes").mkdir()
    (repository / "notes" / "todo.txt").write_text("x")
    (repository / "two words").mkdir()
    result = overbook("import", str(repository))
    assert result.exit_code == 1
    assert len(list(yaml.safe_load_all(result.stdout))) == 5
    empty, notes, words = result.stderr.splitlines()
    assert empty.startswith("empty: ")
    assert "is empty; expected a model's files" in empty
    assert notes.startswith("notes: model notes: ")
    assert words == "two words: 'two words' cannot be a model's name; rename the folder"


def test_a_folder_without_folders(overbook: Overbook, tmp_path: Path) -> None:
    result = overbook("import", str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"{tmp_path} has no folders; expected one for each model\n"
    assert overbook("import", str(tmp_path / "nowhere")).exit_code == 2


def test_what_is_no_repository(overbook: Overbook, tmp_path: Path) -> None:
    device = overbook("import", "/dev/null")
    assert device.exit_code == 2
    assert "'/dev/null' cannot be read as a folder: Not a directory" in device.stderr
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfcn"))
    (odd / "iris").mkdir(parents=True)
    (odd / "iris" / "model.joblib").touch()
    result = overbook("import", str(odd))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "gr\\udcfcn' is not UTF-8, and a manifest cannot name it" in result.stderr


def test_names_do_no_harm_to_a_terminal(overbook: Overbook, repository: Path) -> None:
    (repository / "red\x1b[31m\nMyModel: fine").mkdir()
    (repository / "loop").symlink_to("loop")
    (repository / "gone").symlink_to("nowhere")
    result = overbook("import", str(repository))
    assert result.exit_code == 1
    assert len(list(yaml.safe_load_all(result.stdout))) == 5
    gone, loop, red = result.stderr.splitlines()
    assert gone.startswith("gone: it is a link that cannot be followed (No such file or directory)")
    assert loop.startswith("loop: it is a link that cannot be followed (Too many levels of symb")
    assert red.startswith("'red\\x1b[31m\\nMyModel: fine': ")
    assert "\x1b" not in red
