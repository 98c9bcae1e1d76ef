"""Which files are of a version."""

from __future__ import annotations

import pytest

from overbook.artifacts.versions import belongs, not_among


@pytest.mark.parametrize(
    ("name", "version", "does"),
    [
        ("1/model.onnx", "1", True),
        ("001/model.onnx", "1", True),
        ("1/model.onnx", "001", True),
        ("2/model.onnx", "1", False),
        ("2", "1", True),  # a file: versions are folders
        ("2/model.onnx", "", True),
        ("config.pbtxt", "1", True),
        ("labels/2/x", "1", False),
        ("v2/model.onnx", "v2", True),
        ("²/model.onnx", "2", False),  # a digit to Unicode, and no number
        ("٢/model.onnx", "2", False),
    ],
)
def test_belongs(name: str, version: str, does: bool) -> None:
    assert belongs(name, version) is does


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
