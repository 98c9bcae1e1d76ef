"""Secrets in a folder: a file or a folder for each, as people and as Kubernetes lay them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.folder import SecretFolder

TEXT = "name: m\ntype: s3\nparameters:\n  key: {}\n"


def value(folder: SecretFolder, name: str = "minio") -> str:
    found = folder.find(name)
    assert found is not None
    assert found.secret == name
    return found.parameters["key"]


def refusal(folder: SecretFolder) -> str:
    with pytest.raises(SecretError) as raised:
        folder.find("minio")
    return str(raised.value)


def mount(folder: Path, version: str, **keys: str) -> None:
    """As the kubelet does: the data in a hidden folder, a link to it that is replaced at once, and one for each key."""
    folder.mkdir(exist_ok=True)
    data = folder / f"..{version}"
    data.mkdir()
    for key, content in keys.items():
        (data / key).write_text(content)
        if not (folder / key).is_symlink():
            (folder / key).symlink_to(f"..data/{key}")
    (folder / "..new").symlink_to(data.name)
    (folder / "..new").rename(folder / "..data")


def test_a_file_and_another_one_in_its_place(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path)
    assert folder.find("minio") is None
    (tmp_path / "minio").write_text(TEXT.format("one"))
    assert value(folder) == "one"
    (tmp_path / "minio").write_text(TEXT.format("two"))
    assert value(folder) == "two"
    (tmp_path / "minio").unlink()
    assert folder.find("minio") is None
    assert SecretFolder(tmp_path / "nowhere").find("minio") is None


def test_the_same_bytes_are_understood_once(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path)
    (tmp_path / "minio").write_text(TEXT.format("one"))
    first = folder.find("minio")
    assert folder.find("minio") is first
    (tmp_path / "minio").write_text("{")
    refusal(folder)
    (tmp_path / "minio").write_text(TEXT.format("one"))
    assert folder.find("minio") == first


def test_a_name_that_leads_elsewhere_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text(TEXT.format("x"))
    (tmp_path / "in").mkdir()
    for name in ("../outside", "..", ".", "", str(tmp_path / "outside"), "a\0b"):
        assert SecretFolder(tmp_path / "in").find(name) is None


def test_a_mounted_secret_and_its_rotation(tmp_path: Path) -> None:
    folder = SecretFolder(tmp_path)
    mount(tmp_path / "minio", "2026_01", s3=TEXT.format("one"))
    assert value(folder) == "one"
    mount(tmp_path / "minio", "2026_02", s3=TEXT.format("two"))
    assert value(folder) == "two"


def test_a_mount_with_a_key_for_each_secret(tmp_path: Path) -> None:
    mount(tmp_path / "all", "2026_01", minio=TEXT.format("one"), other=TEXT.format("two"))
    folder = SecretFolder(tmp_path / "all")
    assert (value(folder), value(folder, "other")) == ("one", "two")


def test_several_keys_are_named_and_none_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "minio").mkdir()
    assert "minio has no key; expected one" in refusal(SecretFolder(tmp_path))
    for key in ("user", "password", ".hidden"):
        (tmp_path / "minio" / key).write_text("hunter2")
    told = refusal(SecretFolder(tmp_path))
    assert "has 2 keys ('password', 'user'); expected one, with the remote in it" in told
    for number in range(9):
        (tmp_path / "minio" / f"k{number}").write_text("hunter2")
    told = refusal(SecretFolder(tmp_path))
    assert "has 11 keys ('k0', 'k1', 'k2', 'k3', 'k4' and 6 more)" in told
    assert "hunter2" not in told


def test_files_that_are_no_text_or_no_files(tmp_path: Path) -> None:
    folder, file = SecretFolder(tmp_path), tmp_path / "minio"
    file.write_bytes(b"\xff\xfe\x00hunter2")
    assert f"{file} is no text; expected UTF-8" in refusal(folder)
    file.write_bytes(b"x" * 70_000)
    assert "has more than 65536 bytes" in refusal(folder)
    file.unlink()
    os.mkfifo(file)
    assert f"{file} is no file" in refusal(folder)
    file.unlink()
    file.symlink_to(file)
    assert f"{file} cannot be read" in refusal(folder)
    file.unlink()
    (file / "key").mkdir(parents=True)
    assert "minio/key is no file" in refusal(folder)
