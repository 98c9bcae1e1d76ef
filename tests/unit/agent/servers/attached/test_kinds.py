"""Models as an MLServer or a Triton of somebody else finds them in its own folder, and the mode it must be in."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from overbook.agent.servers.attached.folder import SharedFolder
from overbook.agent.servers.attached.kinds import AttachedMlserver, AttachedTriton
from overbook.agent.servers.protocol import (
    ModelRejected,
    PreparedModel,
    ServerStartFailed,
    ServerUnreachable,
)
from tests.unit.agent.servers.attached.world import Theirs


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


class Told(Theirs):
    """Answers an unload with an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def unload(self, name: str, *, timeout: float) -> bool:
        raise self._error


async def test_triton_must_do_as_it_is_told() -> None:
    refusal = "x: UNAVAILABLE: explicit model load / unload is not allowed if polling is enabled"
    for error in (ServerUnreachable(refusal), ModelRejected(refusal)):
        with pytest.raises(ServerStartFailed, match="start it with --model-control-mode=explicit"):
            await AttachedTriton().check(Told(error), timeout=1)
    with pytest.raises(ServerUnreachable, match="no answer"):
        await AttachedTriton().check(Told(ServerUnreachable("no answer")), timeout=1)
    await AttachedTriton().check(Told(ModelRejected("no such model")), timeout=1)
    await AttachedTriton().check(Theirs(), timeout=1)


_CONFIG = """
backend: "python"
input [ { name: "x", data_type: TYPE_INT32, dims: [ 1 ] } ]
output [ { name: "y", data_type: TYPE_INT32, dims: [ 1 ] } ]
"""


def test_a_triton_model_is_copied_with_its_whole_configuration(tmp_path: Path) -> None:
    folder = shared(tmp_path)
    model = artifact(tmp_path, {"config.pbtxt": _CONFIG, "1/model.py": "# code"}, "python")
    AttachedTriton().validate(model)
    AttachedTriton().publish(model, folder)
    place = folder.path / "iris"
    assert 'name: "iris"' in (place / "config.pbtxt").read_text()
    code = place / "1" / "model.py"
    assert code.read_text() == "# code"
    assert not code.is_symlink()
    assert stat.S_IMODE(code.stat().st_mode) == 0o644
    assert AttachedTriton().static_metadata(model)["name"] == "iris"


def test_a_model_of_triton_is_measured_by_its_own_processes(tmp_path: Path) -> None:
    program = tmp_path / "triton_python_backend_stub"
    program.symlink_to("/bin/sleep")
    # Its first argument is a file of the model to us, and seconds to `sleep`.
    stub = subprocess.Popen([program, "600"])
    try:
        assert AttachedTriton().model_memory(os.getpid(), "iris") is None
        found = AttachedTriton().model_memory(os.getpid(), "600")
        assert found is not None
        assert found.processes == 1
        assert found.bytes > 0
    finally:
        stub.kill()
        stub.wait()
    assert AttachedTriton().model_memory(stub.pid, "600") is None
    assert AttachedMlserver().model_memory(os.getpid(), "iris") is None
