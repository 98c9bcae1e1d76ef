"""What a folder holds: by requirements, then by file names, and never by a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.mlserver import formats
from overbook.agent.servers.mlserver.formats import Ambiguous, detect, expected, extra_of


def folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("requirements", "file", "implementation"),
    [
        ([], "model.joblib", "mlserver_sklearn.SKLearnModel"),
        (["sklearn"], "mine.pkl", "mlserver_sklearn.SKLearnModel"),
        ([], "model.onnx", "overbook_mlserver.onnx.OnnxModel"),
        (["fraud"], "net.onnx", "overbook_mlserver.onnx.OnnxModel"),
        ([], "model.ubj", "mlserver_xgboost.XGBoostModel"),
        (["xgboost"], "model.json", "mlserver_xgboost.XGBoostModel"),
        (["xgboost"], "model.bst", "mlserver_xgboost.XGBoostModel"),
        (["lightgbm", "mlserver"], "model.bst", "mlserver_lightgbm.LightGBMModel"),
        (["lightgbm"], "model.txt", "mlserver_lightgbm.LightGBMModel"),
        (["lightgbm"], "trees.txt", "mlserver_lightgbm.LightGBMModel"),
        ([], "model.cbm", "overbook_mlserver.catboost.CatboostModel"),
        # A pickled XGBClassifier is a model of scikit-learn's making.
        (["xgboost"], "model.joblib", "mlserver_sklearn.SKLearnModel"),
    ],
)
def test_the_format_of_one_file(
    tmp_path: Path, requirements: list[str], file: str, implementation: str
) -> None:
    found = detect(folder(tmp_path, file, "README.md"), requirements)
    assert found is not None
    assert (found.format.implementation, found.path) == (implementation, tmp_path / file)


@pytest.mark.parametrize(
    ("requirements", "file"),
    [
        ([], "model.json"),
        ([], "model.txt"),
        ([], "model.bst"),
        (["lightgbm"], "model.onnx"),
        (["onnx"], "model.joblib.gz"),
        (["sklearn"], "model.ubj"),
    ],
)
def test_what_is_no_model_or_another_frameworks(
    tmp_path: Path, requirements: list[str], file: str
) -> None:
    assert detect(folder(tmp_path, file), requirements) is None


def test_an_mlflow_folder_is_taken_whole(tmp_path: Path) -> None:
    found = detect(folder(tmp_path, "MLmodel", "model.pkl", "requirements.txt"), [])
    assert found is not None
    assert (found.format.word, found.path) == ("mlflow", tmp_path)


def test_two_formats_are_told_apart_by_requirements_alone(tmp_path: Path) -> None:
    folder(tmp_path, "model.joblib", "model.onnx")
    with pytest.raises(Ambiguous, match=r"model\.joblib \(sklearn\) and model\.onnx \(onnx\)"):
        detect(tmp_path, ["mlserver"])
    found = detect(tmp_path, ["onnx"])
    assert found is not None
    assert found.format.word == "onnx"


def test_what_was_expected_follows_the_requirements() -> None:
    assert expected(["onnx"]) == "onnx: model.onnx, a single *.onnx"
    assert "model.bst" in expected(["lightgbm"])
    assert all(word in expected([]) for word in ("sklearn:", "catboost:", "mlflow: MLmodel"))


def test_the_extra_that_brings_a_class() -> None:
    words = {each.word: extra_of(each.implementation) for each in formats.FORMATS}
    assert words.pop("sklearn") is None
    assert all(word == extra for word, extra in words.items())
    assert extra_of("mlserver_catboost.CatboostModel") == "catboost"
    assert extra_of("model.Mine") is None
