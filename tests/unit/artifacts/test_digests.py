"""The digest of an artifact: the same for the same names and bytes, whoever read them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.digests import content_of, digest_of
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.local import copy_artifact
from tests.unit.artifacts.hostile import never_stopped


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1" / "assets").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "1" / "model.onnx").write_bytes(b"weights")
    (folder / "1" / "assets" / "ä.txt").write_bytes(b"")
    (folder / "config.json").write_bytes(b"{}")
    (folder / "latest").symlink_to("1")
    return folder


FILES = [
    ("config.json", 2, sha256(b"{}")),
    ("1/model.onnx", 7, sha256(b"weights")),
    ("1/assets/ä.txt", 0, sha256(b"")),
]


def test_what_a_source_tells_gives_the_digest_of_the_copy(model: Path, tmp_path: Path) -> None:
    told = digest_of(FILES, folders=["empty"], links=[("latest", "1")])
    assert content_of(model).digest == told
    assert copy_artifact(model, tmp_path / "copy", never_stopped).digest == told
    assert content_of(tmp_path / "copy").digest == told
    assert content_of(model).bytes == 9
    assert len(told) == 40


def test_folders_that_something_lies_in_need_not_be_told(model: Path) -> None:
    (model / "latest").unlink()
    (model / "empty").rmdir()
    assert content_of(model).digest == digest_of(FILES) == digest_of(reversed(FILES), folders=["1"])


def test_everything_counts(model: Path) -> None:
    seen = {content_of(model).digest}
    for change in (
        lambda: (model / "config.json").write_bytes(b"[]"),
        lambda: (model / "config.json").rename(model / "config.yaml"),
        lambda: (model / "empty").rmdir(),
        lambda: (model / "latest").unlink(),
        lambda: (model / "latest").symlink_to("1/model.onnx"),
        lambda: (model / "1" / "assets" / "ä.txt").write_bytes(b"x"),
    ):
        change()
        seen.add(content_of(model).digest)
    assert len(seen) == 7


def test_only_what_is_not_known_is_read(model: Path) -> None:
    known = {"1/model.onnx": sha256(b"others!")}
    told = [FILES[0], ("1/model.onnx", 7, sha256(b"others!")), FILES[2]]
    expected = digest_of(told, folders=["empty"], links=[("latest", "1")])
    assert content_of(model, known).digest == expected
    # Of a file that is not there nothing is known.
    assert content_of(model, {"nothing": "x"}) == content_of(model)


def test_many_are_read_side_by_side(tmp_path: Path) -> None:
    contents = {f"{number}.bin": os.urandom((300 << 10) + number) for number in range(40)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    told = digest_of((name, len(content), sha256(content)) for name, content in contents.items())
    assert content_of(tmp_path).digest == told


@pytest.mark.parametrize("size", [7, 5 << 20])
def test_reading_can_be_stopped(tmp_path: Path, size: int) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    for name in "ab":
        (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(Stopped):
        content_of(tmp_path, check_stopped=stop)


def test_what_is_put_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"y")

    def swap() -> None:
        if not (tmp_path / "b").is_fifo():
            (tmp_path / "b").unlink()
            os.mkfifo(tmp_path / "b")

    with pytest.raises(ArtifactError, match=r"b cannot be read: .*no regular file"):
        content_of(tmp_path, check_stopped=swap)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def grow() -> None:
        (tmp_path / "a").write_bytes(b"xyz")

    (tmp_path / "b").write_bytes(b"y")
    with pytest.raises(ArtifactError, match="it had 1 bytes, then"):
        content_of(tmp_path, check_stopped=grow)


NAMES = st.lists(st.sampled_from(["a", "b", "a b", "ab"]), min_size=1, max_size=3).map("/".join)


FILES_OF_ANY = st.dictionaries(NAMES, st.binary(max_size=1), min_size=1, max_size=3)


@given(FILES_OF_ANY, FILES_OF_ANY)
def test_no_two_trees_have_one_digest(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    def digest(files: dict[str, bytes]) -> str:
        return digest_of((name, len(content), sha256(content)) for name, content in files.items())

    assert (digest(one) == digest(other)) is (one == other)
