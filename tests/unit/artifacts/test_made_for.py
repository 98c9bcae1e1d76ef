"""Which runtime the names of a model's files point to."""

from __future__ import annotations

import pytest

from overbook.artifacts.made_for import made_for


@pytest.mark.parametrize(
    ("names", "runtime"),
    [
        (["model.onnx"], ""),
        (["model-settings.json", "model.py"], "mlserver"),
        (["3/model-settings.json"], "mlserver"),
        (["config.pbtxt", "1/model.onnx"], "triton"),
        (["1/model.py"], "triton"),
        (["model.py"], ""),
        (["v1/model.py", "my-config.pbtxt"], ""),
        (["config.pbtxt", "1/model.onnx", "model-settings.json"], ""),
        ([], ""),
    ],
)
def test_what_the_names_tell(names: list[str], runtime: str) -> None:
    assert made_for(names) == runtime
