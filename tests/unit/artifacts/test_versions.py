"""Which files are of a version."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.versions import belongs, folder_of, folder_with_files, not_among


@pytest.mark.parametrize(
    ("version", "folders", "meant"),
    [
        ("1", ["1", "01", "1.0"], "1"),
        ("01", ["1", "01", "1.0"], "01"),
        ("1.0", ["1", "01", "1.0"], "1.0"),
        ("1", ["2", "001", "1.0"], "001"),
        ("001", ["1", "2"], "1"),
        ("1", ["2", "10"], ""),
        ("1", ["01", "01"], "01"),
        ("v2", ["v2", "2"], "v2"),
        ("2", ["²", "٢"], ""),  # digits to Unicode, and no numbers
    ],
)
def test_one_folder_is_meant(version: str, folders: list[str], meant: str) -> None:
    assert folder_of(version, folders, "s3://b/m") == meant


def test_folders_of_which_each_may_be_meant_are_named() -> None:
    with pytest.raises(SourceError) as raised:
        folder_of("1", ["2", "01", "001"], "s3://b/m")
    assert raised.value.trouble is Trouble.REFUSED
    assert str(raised.value) == (
        "s3://b/m: folders '001', '01' are the same version; "
        "expected as artifactVersion the very name of one of them"
    )


def test_folders_without_files_do_not_count() -> None:
    assert folder_with_files("1", ["1", "01/model", "x/1/model"], "s3://b/m") == "01"


@pytest.mark.parametrize(
    ("name", "folder", "does"),
    [
        ("1/model.onnx", "1", True),
        ("001/model.onnx", "1", False),
        ("1", "2", True),  # a file: versions are folders
        ("config.pbtxt", "1", True),
        ("labels/1/x", "1", False),
    ],
)
def test_belongs(name: str, folder: str, does: bool) -> None:
    assert belongs(name, folder) is does


def test_what_there_is_instead_is_named_with_the_newest_first() -> None:
    told = not_among("4", ["1", "old", "010", "2", "2"])
    assert told == (
        "it has no folder '4' with files in it; "
        "expected as artifactVersion one of those that there are: '010', '2', '1', 'old'"
    )
    assert not_among("4", map(str, range(10, 20))).endswith(
        "'19', '18', '17', '16', '15' and 5 more"
    )
    assert not_among("4", ["4", "04"]).endswith("and no other folder; leave artifactVersion out")


def test_a_name_of_a_folder_is_foreign_text() -> None:
    assert "\x1b" not in not_among("4", ["\x1b[2J"])
