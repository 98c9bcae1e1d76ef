"""What kind of thing a folder holds: files that the libraries wrote, layouts of both servers, and hostile ones."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from overbook.agent.kinds import FILES, ArtifactKind, kind_of
from tests.unit.agent.mutations import (
    CATBOOST,
    LIGHTGBM,
    LINEAR,
    MLMODEL,
    XGBOOST_JSON,
    XGBOOST_UBJ,
    mutated,
)

LINEAR_WORD = "pickle:sklearn.linear_model._logistic.LogisticRegression"


def put(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def weights(folder: Path, name: str, *, outside: bool = False) -> int:
    """An ONNX file with one operation; the bytes of its weights."""
    values = np.ones((40, 50), dtype=np.float32)
    whole = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 40])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 50])],
        [numpy_helper.from_array(values, "w")],
    )
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(
        helper.make_model(whole),
        str(folder / name),
        save_as_external_data=outside,
        location="weights.bin",
        size_threshold=0,
    )
    return values.nbytes


@pytest.mark.parametrize(
    ("files", "word"),
    [
        ({"model.pkl": LINEAR}, LINEAR_WORD),
        ({"anything.joblib": LINEAR}, LINEAR_WORD),
        ({"model.json": XGBOOST_JSON}, "xgboost-json"),
        ({"model.ubj": XGBOOST_UBJ}, "xgboost-ubj"),
        ({"model.bst": XGBOOST_UBJ}, "xgboost-ubj"),
        ({"model.bst": LIGHTGBM}, "lightgbm-txt"),
        ({"model.txt": LIGHTGBM}, "lightgbm-txt"),
        ({"model.cbm": CATBOOST}, "catboost-cbm"),
        ({"model.bin": CATBOOST}, "catboost-cbm"),
        ({"model.pt": b"PK\x03\x04 and more"}, "torchscript"),
    ],
)
def test_one_file(tmp_path: Path, files: dict[str, bytes], word: str) -> None:
    (size,) = (len(content) for content in files.values())
    assert kind_of(put(tmp_path, files)) == ArtifactKind(word, size)


def test_what_lies_beside_the_model_is_no_part_of_it(tmp_path: Path) -> None:
    beside = {"README.md": bytes(5000), "data.csv": bytes(9000), "model-settings.json": b"{}"}
    assert kind_of(put(tmp_path, {"model.pkl": LINEAR, **beside})) == ArtifactKind(
        LINEAR_WORD, len(LINEAR)
    )


def test_a_file_called_model_counts_before_larger_ones(tmp_path: Path) -> None:
    folder = put(tmp_path, {"model.bst": LIGHTGBM, "other.cbm": CATBOOST + bytes(5000)})
    assert kind_of(folder).word == "lightgbm-txt"


def test_a_packed_pickle_counts_as_what_it_unpacks_to(tmp_path: Path) -> None:
    joblib.dump({"zeros": np.zeros(50_000)}, tmp_path / "model.joblib", compress=3)
    kind = kind_of(tmp_path)
    assert kind.word == "joblib-zlib"
    assert 400_000 < kind.bytes < 410_000


def test_a_pickle_packed_by_what_nobody_has(tmp_path: Path) -> None:
    folder = put(tmp_path, {"model.joblib": b"\x04\x22\x4d\x18" + bytes(96)})
    assert kind_of(folder) == ArtifactKind("joblib-packed", 100)


def test_onnx_counts_its_weights_and_its_operations(tmp_path: Path) -> None:
    size = weights(tmp_path, "model.onnx")
    (tmp_path / "notes.bin").write_bytes(bytes(50_000))
    assert kind_of(tmp_path) == ArtifactKind("onnx", size + 7168)


def test_onnx_counts_weights_in_other_files(tmp_path: Path) -> None:
    size = weights(tmp_path, "1/model.onnx", outside=True)
    put(tmp_path, {"config.pbtxt": b'platform: "onnxruntime_onnx"'})
    assert kind_of(tmp_path) == ArtifactKind("onnx", size + 7168)


def test_onnx_that_claims_more_than_there_is(tmp_path: Path) -> None:
    weights(tmp_path, "model.onnx", outside=True)
    model = onnx.load(str(tmp_path / "model.onnx"), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "length":
            entry.value = "9" * 15
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert kind_of(tmp_path) == ArtifactKind("onnx", 8000 + 7168)


def test_the_newest_version_is_meant(tmp_path: Path) -> None:
    put(tmp_path, {"2/model.bst": LIGHTGBM, "10/model.pkl": LINEAR, "9/model.cbm": CATBOOST})
    assert kind_of(tmp_path) == ArtifactKind(LINEAR_WORD, len(LINEAR))


def test_tensorflow_as_it_is_saved_and_as_triton_wants_it(tmp_path: Path) -> None:
    files = {"saved_model.pb": bytes(10), "variables/variables.data-00000-of-00001": bytes(500)}
    assert kind_of(put(tmp_path / "plain", files)) == ArtifactKind("saved-model", 510)
    triton = {f"1/model.savedmodel/{name}": content for name, content in files.items()}
    assert kind_of(put(tmp_path / "triton", {**triton, "config.pbtxt": bytes(70)})) == ArtifactKind(
        "saved-model", 510
    )


def test_own_code_and_what_it_loads(tmp_path: Path) -> None:
    alone = put(tmp_path / "alone", {"1/model.py": b"class Model: ...", "config.pbtxt": b"x"})
    assert kind_of(alone) == ArtifactKind("code", 16)
    both = put(tmp_path / "both", {"model.py": b"import it", "data/table.pkl": LINEAR})
    assert kind_of(both) == ArtifactKind(f"code:{LINEAR_WORD}", 9 + len(LINEAR))


def test_mlflow_says_its_flavour(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", {"MLmodel": MLMODEL, "model.pkl": LINEAR, "conda.yaml": bytes(9)})
    assert kind_of(folder) == ArtifactKind(
        f"mlflow:sklearn:{LINEAR_WORD}", len(MLMODEL) + len(LINEAR) + 9
    )
    assert kind_of(put(tmp_path / "b", {"MLmodel": b"flavors: {}"})).word == "mlflow:pyfunc"


def test_what_nobody_understands(tmp_path: Path) -> None:
    assert kind_of(put(tmp_path / "a", {"x.dat": bytes(7), "b/c.dat": bytes(5)})) == ArtifactKind(
        FILES, 12
    )
    assert kind_of(put(tmp_path / "b", {"model.pkl": b"no pickle"})) == ArtifactKind(FILES, 9)
    assert kind_of(tmp_path / "not there") == ArtifactKind(FILES, 0)
    (tmp_path / "empty").mkdir()
    assert kind_of(tmp_path / "empty") == ArtifactKind(FILES, 0)


def test_pipes_links_and_what_may_not_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.pkl")
    (tmp_path / "model.onnx").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert kind_of(tmp_path) == ArtifactKind(FILES, 0)


def test_the_same_files_are_the_same_kind_wherever_they_lie(tmp_path: Path) -> None:
    put(tmp_path / "a", {"model.pkl": LINEAR})
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert kind_of(tmp_path / "a") == kind_of(tmp_path / "b")


NAMES = ["model.pkl", "model.joblib", "model.onnx", "model.json", "model.bst", "MLmodel", "m.pt",
         "1/model.cbm", "saved_model.pb", "model.py", "9999999999999999999/model.pkl"]  # fmt: skip
SEEDS = [LINEAR, XGBOOST_JSON, XGBOOST_UBJ, LIGHTGBM, CATBOOST, MLMODEL, b""]


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_nothing_escapes_whatever_the_files_are(seed: int) -> None:
    chance = random.Random(seed)
    names = chance.sample(NAMES, chance.randint(0, 3))
    files = {name: mutated(chance.choice(SEEDS), chance) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        kind = kind_of(put(Path(folder), files))
        assert time.process_time() - begun < 1.0
    # Unless it is packed no more is expected than there is, but for what operations of ONNX take.
    assert kind.bytes >= 0
    if not kind.word.startswith("joblib-"):
        assert kind.bytes <= sum(map(len, files.values())) + 7168 * 64
    assert kind.word.isascii()
    assert len(kind.word) < 2000
