"""What `validate` tells of budgets, addresses, files and formats while nothing runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overbook.client.http import Json, JsonObject
from overbook.machine.checking import check
from overbook.machine.room import machine_bytes

GROUP = "overbook.dev/v1alpha1"


def _document(kind: str, name: str, spec: JsonObject) -> JsonObject:
    return {"apiVersion": GROUP, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _model(uri: Path | str, *words: str, **spec: Json) -> JsonObject:
    return _document("Model", "m", {"storageUri": str(uri), "requirements": [*words], **spec})


def _server(name: str = "s", **spec: Json) -> JsonObject:
    return _document("Server", name, {"serverConfig": "mlserver", **spec})


def _told(*documents: JsonObject) -> list[str]:
    """A line for each; "" for what is right."""
    found = check(documents)
    return [
        "" if each is None else f"{'.'.join(map(str, each.path))}: {each.message}" for each in found
    ]


@pytest.fixture
def sklearn(tmp_path: Path) -> Path:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x")
    return tmp_path / "iris"


def test_what_would_be_taken(sklearn: Path) -> None:
    assert _told(_server(), _model(sklearn, "sklearn"), _model(sklearn / "model.joblib")) == [
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("/nowhere/at/all", "spec.storageUri: '/nowhere/at/all' does not exist; expected"),
        ("s3://", "spec.storageUri: 's3://' names no place; expected such as s3://BUCKET/FOLDER"),
        ("https://me:word@host/m", "spec.storageUri: https://…@host/m holds a password; expected"),
    ],
)
def test_addresses_that_lead_nowhere(uri: str, told: str) -> None:
    (line,) = _told(_model(uri))
    assert line.startswith(told)


def test_links_that_lead_out(sklearn: Path) -> None:
    (sklearn / "more").symlink_to("/etc/hostname")
    (line,) = _told(_model(sklearn))
    assert "link more points outside the artifact, to /etc/hostname" in line


def test_files_that_no_server_of_the_kind_could_load(sklearn: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").touch()
    (line,) = _told(_model(tmp_path / "notes", "sklearn"))
    assert line.startswith("spec.storageUri: model m: no file that MLServer can load")
    (sklearn / "model-settings.json").write_text(json.dumps({"implementation": "nonsense"}))
    (line,) = _told(_model(sklearn, "sklearn"))
    assert "model-settings.json: implementation is 'nonsense'" in line
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "config.pbtxt").write_text("name: {")
    (line,) = _told(_model(tmp_path / "t", "tensorflow"))
    assert "config.pbtxt" in line


def test_the_server_that_is_named_counts(sklearn: Path) -> None:
    triton = _server(serverConfig="triton")
    line = _told(triton, _model(sklearn, "sklearn", server="s"))[1]
    assert line.startswith("spec.storageUri: model m: ")
    assert "MLServer" not in line
    assert _told(_server(), _model(sklearn, "sklearn", server="s"))[1] == ""


def test_words_that_nobody_here_knows_may_be_somebody_elses(sklearn: Path) -> None:
    assert _told(_model(sklearn, "my-own-word")) == [""]


def test_servers_that_are_too_large() -> None:
    (line,) = _told(_server(memory=2 * machine_bytes()))
    assert "is more than this machine's" in line
    assert _told(_server(memory=2 * machine_bytes(), allowOversizedMemory=True)) == [""]
    (line,) = _told(_server(memory="1Ki", replicas=1001))
    assert "expected at most 1000" in line


@pytest.mark.parametrize("field", ["requirements", "archive"])
def test_what_an_environment_is_made_of_is_there(tmp_path: Path, field: str) -> None:
    given = tmp_path / "mine"
    (line,) = _told(_server(environment={field: str(given)}))
    assert line.startswith(f"spec.environment.{field}: '{given}' is not a file on this machine")
    given.touch()
    assert _told(_server(environment={field: str(given)})) == [""]
    assert _told(_server(environment={"packages": ["a==1"]})) == [""]


def test_requirements_that_cannot_be_read_are_told_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"six\n# Gr\xfc\xdfe\n")
    (line,) = _told(_server(environment={"requirements": str(file)}))
    assert line == (
        f"spec.environment.requirements: {file}, line 2: this is not UTF-8; save the file as UTF-8"
    )
    file.write_text("six\n")
    assert _told(_server(environment={"requirements": str(file)})) == [""]
