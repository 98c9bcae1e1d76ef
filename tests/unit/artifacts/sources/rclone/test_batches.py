"""What a batch leaves behind when its process is killed, and who takes it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from overbook.artifacts.folder import ContentFolder
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.rclone import batches


def file(name: str, content: bytes, origin: str = "") -> RemoteFile:
    md5 = hashlib.md5(content).hexdigest()
    return RemoteFile(name, len(content), f"md5:{md5}", "", origin or f"shelf/models/{name}")


A, B = file("a", b"content of a"), file("b", b"content of b")


@pytest.fixture
def intos(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"{n:032x}" for n in range(2)]


def came(batch: Path, name: str, content: bytes) -> None:
    (batch / name).parent.mkdir(parents=True, exist_ok=True)
    (batch / name).write_bytes(content)


def test_each_takes_what_is_its_own_and_the_last_removes_the_rest(intos: list[Path]) -> None:
    first, second = intos
    batch = batches.begin(intos, "shelf/models")
    came(batch, "a", b"content of a")
    came(batch, "b.1234.partial", b"content")
    batches.take_left_behind(first, [A, B])
    assert os.listdir(first) == ["a"]
    # Whoever else wanted the same finds it still.
    batches.take_left_behind(second, [A])
    assert (second / "a").read_bytes() == b"content of a"
    assert (first / "a").stat().st_ino != (second / "a").stat().st_ino
    assert set(os.listdir(first.parent)) == {first.name, second.name}


def test_what_is_other_than_listed_is_left(intos: list[Path]) -> None:
    batch = batches.begin(intos[:1], "shelf/models")
    came(batch, "a", b"content of x")
    came(batch, "b", b"content of b and more")
    batches.take_left_behind(intos[0], [A, B])
    assert not intos[0].exists()
    assert not batch.exists()


def test_several_batches_of_one_artifact(intos: list[Path]) -> None:
    for name, content in (("a", b"content of a"), ("b", b"content of b")):
        came(batches.begin(intos[:1], "shelf/models"), name, content)
    batches.take_left_behind(intos[0], [A, B])
    assert sorted(os.listdir(intos[0])) == ["a", "b"]
    assert os.listdir(intos[0].parent) == [intos[0].name]


def test_it_lies_beside_the_folders_that_get_its_files(intos: list[Path]) -> None:
    batch = batches.begin(intos, "")
    assert batch.parent == intos[0].parent
    assert batch != batches.begin(intos, "")
    # Who is through first takes away all that has its name.
    assert not any(batch.name.startswith(each.name) for each in intos)
    assert batch.stat().st_mode & 0o777 == 0o700


def test_a_root_of_any_name(intos: list[Path]) -> None:
    root = "/srv/mödels/" + "x" * 300
    batch = batches.begin(intos[:1], root)
    came(batch, "deep/a", b"content of a")
    batches.take_left_behind(intos[0], [file("a", b"content of a", f"{root}/deep/a")])
    assert (intos[0] / "a").is_file()


def test_it_outlives_a_restart_of_the_cache(tmp_path: Path) -> None:
    folder = ContentFolder(tmp_path)
    folder.open(time.time())
    into = folder.incoming(f"{1:032x}")
    came(batches.begin([into], "shelf/models"), "a", b"content of a")
    ContentFolder(tmp_path).open(time.time())
    batches.take_left_behind(into, [A])
    assert os.listdir(into) == ["a"]


def test_what_came_before_a_failure_is_kept_while_somebody_wants_it(intos: list[Path]) -> None:
    first, second = intos
    batch = batches.begin(intos, "shelf/models")
    came(batch, "a", b"content of a")
    first.mkdir()
    for into in intos:
        batches.keep(batch / "a", into, A)
    batches.end(batch, intos)
    assert os.listdir(first) == ["a"]
    assert not second.exists()
    assert os.listdir(first.parent) == [first.name]
