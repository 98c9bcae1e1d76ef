"""Which scikit-learn saved a pickle is read from its bytes, at every protocol and in every packing; nothing is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from overbook.agent.servers.formats import saved_with as module
from overbook.agent.servers.formats.saved_with import saved_with, version_told


def texts() -> object:
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        ["one two", "three four"] * 9, [0, 1] * 9
    )


def neighbours() -> object:
    rows = np.random.default_rng(0).random((3000, 8))
    return KNeighborsClassifier().fit(rows, np.arange(3000) % 2)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_tells(protocol: int) -> None:
    for estimator in (texts(), neighbours()):
        assert version_told(pickle.dumps(estimator, protocol)) == sklearn.__version__
    assert version_told(pickle.dumps({"sklearn": "1.6.1"}, protocol)) == ""


@pytest.mark.parametrize("compress", [0, 3, "gzip", "bz2", "xz", "lzma"])
def test_what_joblib_wrote_packed_or_not(tmp_path: Path, compress: int | str) -> None:
    joblib.dump(neighbours(), tmp_path / "model.joblib", compress=compress)
    assert saved_with(tmp_path) == sklearn.__version__


def test_what_comes_after_large_arrays_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST", 100)
    monkeypatch.setattr(module, "_HEAD", 1000)
    joblib.dump(neighbours(), tmp_path / "model.joblib")
    assert saved_with(tmp_path) == sklearn.__version__


def test_the_model_may_lie_in_a_version_folder_beside_others(tmp_path: Path) -> None:
    assert saved_with(tmp_path) == ""
    (tmp_path / "3").mkdir()
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "b.pkl").mkdir()
    os.mkfifo(tmp_path / "c.pkl")
    (tmp_path / "d.joblib").write_bytes(b"\x1f\x8b no gzip at all")
    assert saved_with(tmp_path) == ""
    (tmp_path / "3" / "model.pkl").write_bytes(pickle.dumps(texts()))
    assert saved_with(tmp_path) == sklearn.__version__


@pytest.mark.parametrize(
    "content",
    [
        b"_sklearn_version",
        b"_sklearn_version\x94\x8c",
        b"_sklearn_version\x94\x8c\x051.",
        b"_sklearn_version\x94\x8c\x05a.b.c",
        b"_sklearn_version\x94\x8c\x05\xff\xff\xff\xff\xff",
        b"_sklearn_version\x94X\xff\x00\x00\x001.6.1 and more than that",
    ],
)
def test_what_names_no_version_tells_nothing(content: bytes) -> None:
    assert version_told(content) == ""


@given(st.binary(max_size=200))
def test_any_bytes_may_follow(content: bytes) -> None:
    version_told(b"_sklearn_version" + content)
