"""Copies from local paths: sources that change meanwhile are noticed, and the copy is for its user alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.artifacts.digests import content_of
from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.artifacts.local import copy_artifact
from overbook.artifacts.survey import look
from tests.unit.artifacts.hostile import never_stopped, require_harmless


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "b.bin").write_bytes(b"weights")
    (folder / "a.json").write_bytes(b"{}")
    (folder / "z").symlink_to("1")
    return folder


def in_place(model: Path) -> None:
    with open(model / "1" / "b.bin", "r+b") as file:
        file.write(b"WEIGHTS")


def with_its_times(model: Path) -> None:
    before = (model / "1" / "b.bin").stat()
    in_place(model)
    os.utime(model / "1" / "b.bin", ns=(before.st_atime_ns, before.st_mtime_ns))


def by_another(model: Path) -> None:
    before = (model / "1" / "b.bin").stat()
    (model / "new").write_bytes(b"WEIGHTS")
    os.utime(model / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (model / "new").rename(model / "1" / "b.bin")


def by_a_link(model: Path) -> None:
    (model / "1" / "b.bin").unlink()
    (model / "1" / "b.bin").symlink_to("../a.json")


def by_a_pipe(model: Path) -> None:
    (model / "1" / "b.bin").unlink()
    os.mkfifo(model / "1" / "b.bin")


def another_link(model: Path) -> None:
    (model / "z").unlink()
    (model / "z").symlink_to("a.json")


CHANGES: dict[str, Callable[[Path], object]] = {
    "in place": in_place,
    "in place, with its times": with_its_times,
    "by another file": by_another,
    "by a link": by_a_link,
    "by a pipe": by_a_pipe,
    "gone": lambda model: (model / "1" / "b.bin").unlink(),
    "shorter": lambda model: os.truncate(model / "1" / "b.bin", 3),
    "one more": lambda model: (model / "1" / "c.bin").write_bytes(b"x"),
    "another link": another_link,
    "a name that is refused": lambda model: (model / "A.JSON").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("call", range(1, 6))
def test_a_source_that_changes_is_noticed_whenever_it_does(
    model: Path, tmp_path: Path, change: Callable[[Path], object], call: int
) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            change(model)

    with pytest.raises(ArtifactError, match=r"changed while|cannot be copied") as raised:
        copy_artifact(model, tmp_path / "copy", check)
    assert isinstance(raised.value, SourceError)
    assert raised.value.trouble is Trouble.CHANGED
    assert raised.value.passing
    assert "\n" not in str(raised.value)


def test_what_changes_before_and_after_is_no_matter(model: Path, tmp_path: Path) -> None:
    in_place(model)
    before = copy_artifact(model, tmp_path / "copy", never_stopped)
    in_place(model)
    os.utime(model / "a.json", ns=(1, 1))
    assert copy_artifact(model, tmp_path / "again", never_stopped) == before
    # To read is no change.
    assert content_of(model) == before


def test_a_copy_is_for_its_user_alone(model: Path, tmp_path: Path) -> None:
    (model / "a.json").chmod(0o6777)
    umask = os.umask(0)
    try:
        copy_artifact(model, tmp_path / "copy", never_stopped)
    finally:
        os.umask(umask)
    require_harmless(tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("B.bin", "differ only in case or Unicode normal form"),
        ("a\nb", "has a control character"),
        ("a\\b", "has a backslash"),
        (os.fsdecode(b"\xff.pkl"), "is no valid UTF-8"),
        (".overbook-partial", "keeps for itself"),
    ],
)
def test_names_keep_the_rules_at_apply_and_at_copy(
    model: Path, tmp_path: Path, name: str, rule: str
) -> None:
    (model / "1" / name).write_bytes(b"x")
    for attempt in (
        lambda: look(str(model)),
        lambda: copy_artifact(model, tmp_path / "copy", never_stopped),
        lambda: content_of(model),
    ):
        with pytest.raises(SourceError, match=rule) as raised:
            attempt()
        assert str(model) in str(raised.value)
        assert str(raised.value).isprintable()


def test_names_of_single_files_keep_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "a\\b"
    path.write_bytes(b"x")
    for attempt in (
        lambda: look(str(path)),
        lambda: copy_artifact(path, tmp_path / "copy", never_stopped),
    ):
        with pytest.raises(SourceError, match="has a backslash"):
            attempt()
