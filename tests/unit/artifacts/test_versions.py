"""Which files are of a version."""

from __future__ import annotations

import pytest

from overbook.artifacts.versions import belongs


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
