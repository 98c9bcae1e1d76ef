"""Folders in a model repository: whole or not there, and always newer than what they replace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overbook.agent.servers.triton.repository import Contents, publish, withdraw

FUTURE = 4_000_000_000


def contents(folder: Path, *, as_one: str = "", beside: tuple[Path, ...] = ()) -> Contents:
    return Contents("name: 'm'", "1", folder, as_one, beside)


def artifact(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def newest(folder: Path) -> float:
    return max(
        os.stat(Path(parent) / name).st_mtime
        for parent, folders, files in os.walk(folder, followlinks=True)
        for name in (*folders, *files)
    )


@pytest.mark.parametrize("copy", [False, True])
def test_files_are_linked_or_copied(tmp_path: Path, copy: bool) -> None:
    source = artifact(tmp_path / "a", model="weights", sub__more="data", __pycache____x="")
    labels = artifact(tmp_path / "b", labels="cat")
    publish(
        tmp_path / "models",
        "m",
        contents(source, beside=(labels / "labels",)),
        copy=copy,
    )
    place = tmp_path / "models" / "m"
    assert (place / "1" / "model").read_text() == "weights"
    assert (place / "1" / "sub" / "more").read_text() == "data"
    assert (place / "labels").read_text() == "cat"
    assert (place / "config.pbtxt").read_text() == "name: 'm'"
    assert (place / "1" / "model").is_symlink() is not copy
    assert not (place / "1").is_symlink()


def test_bytecode_and_another_configuration_stay_behind(tmp_path: Path) -> None:
    source = artifact(tmp_path / "a", model="")
    (source / "config.pbtxt").touch()
    (source / "__pycache__").mkdir()
    publish(tmp_path / "models", "m", contents(source), copy=False)
    version = tmp_path / "models" / "m" / "1"
    # An empty file where Python would put its bytecode: there it can be no folder.
    assert {path.name for path in version.iterdir()} == {"model", "__pycache__"}
    assert (version / "__pycache__").read_bytes() == b""


def test_a_package_of_the_model_is_a_folder_of_links_in_which_no_bytecode_gets_into_the_artifact(
    tmp_path: Path,
) -> None:
    source = artifact(tmp_path / "a", helper__data="")
    (source / "helper" / "deep").mkdir()
    (source / "helper" / "deep" / "code.py").write_text("x = 1")
    (source / "helper" / "__pycache__").mkdir()
    publish(tmp_path / "models", "m", contents(source), copy=False)
    helper = tmp_path / "models" / "m" / "1" / "helper"
    assert not helper.is_symlink()
    assert (helper / "deep" / "code.py").is_symlink()
    assert (helper / "deep" / "code.py").read_text() == "x = 1"
    for folder in (helper, helper / "deep"):
        with pytest.raises(FileExistsError):
            (folder / "__pycache__").mkdir()


def test_a_folder_may_go_in_as_one(tmp_path: Path) -> None:
    source = artifact(tmp_path / "a", model="")
    publish(tmp_path / "models", "m", contents(source, as_one="model.savedmodel"), copy=False)
    assert (tmp_path / "models" / "m" / "1" / "model.savedmodel" / "model").exists()


@pytest.mark.parametrize("copy", [False, True])
def test_an_update_always_looks_newer(tmp_path: Path, copy: bool) -> None:
    first = artifact(tmp_path / "first", model="1")
    os.utime(first / "model", (FUTURE, FUTURE))
    second = artifact(tmp_path / "second", model="2")
    os.utime(second / "model", (1, 1))
    publish(tmp_path / "models", "m", contents(first), copy=copy)
    before = newest(tmp_path / "models" / "m")
    publish(tmp_path / "models", "m", contents(second), copy=copy)
    assert newest(tmp_path / "models" / "m") > before
    assert (tmp_path / "models" / "m" / "1" / "model").read_text() == "2"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m"]


def test_a_failing_update_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    source = artifact(tmp_path / "a", model="1")
    publish(tmp_path / "models", "m", contents(source), copy=True)
    with pytest.raises(OSError, match="nowhere"):
        publish(tmp_path / "models", "m", contents(tmp_path / "nowhere"), copy=True)
    assert (tmp_path / "models" / "m" / "1" / "model").read_text() == "1"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m"]


def test_withdrawn_files_are_gone_and_the_artifact_is_not(tmp_path: Path) -> None:
    source = artifact(tmp_path / "a", model="1")
    publish(tmp_path / "models", "m", contents(source), copy=False)
    withdraw(tmp_path / "models", "m")
    withdraw(tmp_path / "models", "m")
    assert list((tmp_path / "models").iterdir()) == []
    assert (source / "model").read_text() == "1"
