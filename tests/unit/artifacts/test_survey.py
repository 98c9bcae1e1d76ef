"""A look at files: sizes, fingerprints, and what is no model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overbook.artifacts import walk as walking
from overbook.artifacts.address import local_path
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.survey import look


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in two files, one in a folder below."""
    (tmp_path / "iris" / "sub").mkdir(parents=True)
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 100)
    (tmp_path / "iris" / "sub" / "labels.txt").write_bytes(b"y" * 20)
    return tmp_path / "iris"


def test_bytes_of_a_folder_and_of_a_file(folder: Path) -> None:
    assert look(str(folder)).bytes == 120
    assert look(str(folder / "model.joblib")).bytes == 100


def test_the_fingerprint_follows_the_files(folder: Path) -> None:
    seen = {look(str(folder)).fingerprint}
    assert look(str(folder)).fingerprint in seen
    os.utime(folder / "model.joblib", ns=(1, 1))
    seen.add(look(str(folder)).fingerprint)
    (folder / "sub" / "labels.txt").rename(folder / "sub" / "other.txt")
    seen.add(look(str(folder)).fingerprint)
    (folder / "model.joblib").write_bytes(b"x" * 101)
    os.utime(folder / "model.joblib", ns=(1, 1))
    seen.add(look(str(folder)).fingerprint)
    assert len(seen) == 4


def test_links_to_folders_are_not_walked(folder: Path) -> None:
    (folder / "again").symlink_to("sub")
    assert look(str(folder)).bytes == 120


def test_what_a_copy_would_be_refused_for_is_refused(folder: Path) -> None:
    (folder.parent / "secret").touch()
    (folder / "out").symlink_to("../secret")
    with pytest.raises(
        ArtifactError, match=r"link out points outside the artifact, to \.\./secret"
    ):
        look(str(folder))
    (folder / "out").unlink()
    (folder / "gone").symlink_to("nothing")
    with pytest.raises(ArtifactError, match=r"link gone points to nothing, which does not exist"):
        look(str(folder))
    (folder / "gone").unlink()
    (folder / "round").symlink_to(folder)
    with pytest.raises(ArtifactError, match=r"when its links to folders are followed"):
        look(str(folder))
    (folder / "round").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(ArtifactError, match=r"pipe is a special file"):
        look(str(folder))


@pytest.mark.parametrize("name", ["nothing", "nothing/below"])
def test_a_path_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"does not exist; expected"):
        look(str(tmp_path / name))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is empty"):
        look(str(tmp_path))


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        look(str(tmp_path / ("n" * 300)))


@pytest.mark.parametrize("uri", ["file:///m/a%00b", "/m/a\0b", "/m/\ud800"])
def test_what_can_be_no_path(uri: str) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be a path"):
        look(local_path(uri))


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(ArtifactError, match=r"is a device, pipe or socket"):
            look(str(tmp_path / name))


def test_a_link_that_leads_round_is_named(folder: Path) -> None:
    (folder / "round").symlink_to("round")
    with pytest.raises(ArtifactError, match=r"iris' cannot be read \(Too many .*, for .*round'\)"):
        look(str(folder))


def test_names_that_are_no_text(folder: Path) -> None:
    with open(os.path.join(os.fsencode(folder), b"\xff.pkl"), "wb") as file:
        file.write(b"x" * 7)
    for path in (str(folder), os.fsdecode(os.path.join(os.fsencode(folder), b"\xff.pkl"))):
        with pytest.raises(ArtifactError, match="is no valid UTF-8; expected text"):
            look(path)


def test_a_folder_with_too_much(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "MAX_ENTRIES", 2)
    with pytest.raises(ArtifactError, match="more than 2 entries"):
        look(str(folder))


def test_what_the_files_are_made_for(folder: Path) -> None:
    assert look(str(folder)).made_for == ""
    (folder / "config.pbtxt").write_text("")
    assert look(str(folder)).made_for == "triton"


def test_a_version_that_is_not_there(folder: Path) -> None:
    for name in ("1", "12"):
        (folder / name).mkdir()
        (folder / name / "model.onnx").touch()
    assert look(str(folder), "12").bytes == 100
    with pytest.raises(ArtifactError, match=r"no folder '3' .* there are: '12', '1', 'sub'"):
        look(str(folder), "3")
    (folder / "3").mkdir()
    with pytest.raises(ArtifactError, match="no folder '3' with files"):
        look(str(folder), "3")


def test_of_versions_with_one_number_one_is_taken(folder: Path) -> None:
    for name, size in (("1", 1), ("01", 10), ("1.0", 1000)):
        (folder / name).mkdir()
        (folder / name / "model.onnx").write_bytes(bytes(size))
    beside = look(str(folder), "1").bytes - 1
    assert look(str(folder), "01").bytes == beside + 10
    assert look(str(folder), "1.0").bytes == beside + 1000
    with pytest.raises(ArtifactError, match=r"folders '01', '1' are the same version"):
        look(str(folder), "001")
