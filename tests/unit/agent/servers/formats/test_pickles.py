"""Which classes a pickle's head names, compared with what wrote it; and nothing but FormatError for what is none."""

from __future__ import annotations

import os
import pickle
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.pickles import HEAD, classes_in, read_pickle

FOREST = (
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.tree._classes.DecisionTreeClassifier",
)
TEXTS = ("sklearn.pipeline.Pipeline", "sklearn.feature_extraction.text.TfidfVectorizer")
ROWS, ANSWERS = make_classification(60, 6, random_state=0)


class Own:
    """A class of the person who trained the model."""

    def __init__(self) -> None:
        self.weights = np.arange(10)


class Harm:
    """Unpickled, it would make a folder."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self._path,)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(3, random_state=0).fit(ROWS, ANSWERS)


def texts() -> object:
    words = [f"word{number} and more" for number in range(40)]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(words, [0, 1] * 20)


def own(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_first_two_classes_are_told_at_every_protocol(protocol: int) -> None:
    assert classes_in(pickle.dumps(forest(), protocol)) == FOREST
    assert classes_in(pickle.dumps(texts(), protocol)) == TEXTS
    assert classes_in(pickle.dumps(Own(), protocol)) == (own(Own()),)


@pytest.mark.parametrize(
    ("compress", "compression"),
    [(0, ""), (3, "zlib"), ("gzip", "gzip"), ("bz2", "bz2"), ("xz", "xz"), ("lzma", "lzma")],
)
def test_what_joblib_wrote_packed_or_not(
    tmp_path: Path, compress: int | str, compression: str
) -> None:
    plain, path = tmp_path / "plain", tmp_path / "model.joblib"
    joblib.dump(forest(), plain)
    joblib.dump(forest(), path, compress=compress)
    found = read_pickle(path)
    assert (found.classes, found.compression) == (FOREST, compression)
    assert found.bytes is not None
    # Arrays are laid out a little otherwise when they are packed.
    assert abs(found.bytes - plain.stat().st_size) < 0.05 * plain.stat().st_size


def test_bytes_of_arrays_that_joblib_writes_between_are_not_read_as_instructions(
    tmp_path: Path,
) -> None:
    rows = np.frombuffer(b"cevil\nName\n" * 96, dtype=np.uint8).reshape(-1, 8)
    model = KNeighborsClassifier(algorithm="brute").fit(rows, np.arange(len(rows)) % 2)
    path = tmp_path / "model.joblib"
    joblib.dump(model, path)
    assert b"cevil" in path.read_bytes()
    assert read_pickle(path).classes == ("sklearn.neighbors._classification.KNeighborsClassifier",)


def test_arrays_and_dictionaries_are_of_no_class_that_says_something() -> None:
    assert classes_in(pickle.dumps({"a": np.arange(9), "b": OrderedDict(), "c": b"abc"})) == ()


def test_harm_is_read_and_not_done(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    assert classes_in(pickle.dumps(Harm(folder))) == ()
    assert not folder.exists()


def test_names_that_are_none_are_passed_over() -> None:
    long, odd = "x" * 300, "a b\tc"
    for module, name in ((long, "N"), ("m", long), (odd, "N"), ("m", "../x"), ("", "")):
        head = b"\x80\x04" + short(module) + short(name) + b"\x93."
        assert classes_in(head) == ()


def short(text: str) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle at all",
        b"\x80",
        b"\x80\x04\x95",
        b"(" * HEAD,
        b"\x80\x05" + b"]" * HEAD,
        b"\x80\x05" + b"N0" * HEAD,
        b"I" + b"9" * HEAD + b"\n",
        b"L" + b"9" * HEAD + b"L\n",
        b"\x8d" + b"\xff" * 8 + b"x",
        b"\x8b" + b"\xff\xff\xff\x7f" + b"x",
        b"\x8b" + (HEAD - 9).to_bytes(4, "little") + b"\x7f" * HEAD,
        b"S'" + b"\\x" * 100 + b"'\n.",
        b"V" + b"\\u12" * 10 + b"\n.",
        b"F" + b"1" * HEAD,
    ],
)
def test_what_says_nothing_is_no_pickle_and_costs_little(content: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(FormatError):
        classes_in(content)
    assert time.process_time() - begun < 1.0


SEEDS = [
    pickle.dumps(model, protocol) for model in (forest(), texts(), Own()) for protocol in (0, 2, 4)
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real pickle with bytes changed, taken out or put in."""
    content = bytearray(draw(st.sampled_from(SEEDS))[:4096])
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=6))
    return bytes(content[: draw(st.integers(0, len(content)))])


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(st.one_of(mutated(), st.binary(max_size=400)))
def test_no_file_whatever_raises_anything_else(content: bytes) -> None:
    try:
        for each in classes_in(content):
            assert len(each) < 1700
            assert all(part.isidentifier() for part in each.split("."))
    except FormatError:
        pass
