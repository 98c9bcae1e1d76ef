"""What is known of contents outlives restarts, and also a file that somebody removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.artifacts.index import Content, Index
from overbook.artifacts.survey import Survey

D, E = "d" * 40, "e" * 40
SURVEY = Survey(5, "f", "mlserver", ("scale",))


def told(trouble: str) -> None:
    raise AssertionError(trouble)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "index.db"


@pytest.fixture
def index(path: Path) -> Iterator[Index]:
    path.parent.mkdir()
    made = Index(path, told)
    yield made
    made.close()


def filled(index: Index) -> None:
    index.put("s3://b/m", ["f1", "f2"], Content(D, 5, "seal", 2.5, "facts", 7.0))
    index.put("s3://b/n", ["f1"], Content(E, 6))
    index.hold(D, "a")
    index.hold(E, "b")
    index.pin("s3://b/m", SURVEY)
    index.used([(E, 9.0), ("unknown", 9.0)])
    index.seal(E, "other seal")


def is_as_filled(index: Index) -> None:
    assert index.at("s3://b/m", "f1") == Content(D, 5, "seal", 2.5, "facts", 7.0)
    assert index.at("s3://b/m", "f2") == index.content(D)
    assert index.at("s3://b/m", "f3") is None
    assert index.content(E) == Content(E, 6, "other seal", last_used=9.0)
    assert index.holders == {"a", "b"}
    assert index.held_by_others({"a"}) == {E}
    assert index.pinned("s3://b/m") == SURVEY
    assert index.pinned("s3://b/n") is None


def test_it_outlives_a_restart(index: Index, path: Path) -> None:
    filled(index)
    is_as_filled(index)
    again = Index(path, told)
    is_as_filled(again)
    again.close()


def test_a_file_that_was_removed_is_written_again(index: Index, path: Path) -> None:
    filled(index)
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    index.note(D, facts="newer")
    index.note(D, facts="facts")
    again = Index(path, told)
    is_as_filled(again)
    again.close()


def test_a_file_of_another_version_is_begun_anew(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE contents (digest TEXT PRIMARY KEY, bytes INTEGER)")
    other.close()
    troubles: list[str] = []
    made = Index(path, troubles.append)
    filled(made)
    made.close()
    assert len(troubles) == 1
    again = Index(path, told)
    is_as_filled(again)
    again.close()


def test_the_same_content_keeps_what_was_found_out_about_it(index: Index) -> None:
    filled(index)
    index.put("s3://b/other", ["f"], Content(D, 5, "new seal", 3.0, last_used=1.0))
    assert index.content(D) == Content(D, 5, "new seal", 3.0, "facts", 7.0)


def test_nobody_wants_it_any_more(index: Index) -> None:
    filled(index)
    index.hold(D, "b")
    index.let_go("b", [D])
    assert index.is_held(D)
    assert not index.is_held(E)
    index.let_go("a", [])
    assert index.is_held(D)
    index.let_go("b", [])
    assert not index.is_held(D)


def test_what_is_forgotten_is_forgotten_for_good(index: Index, path: Path) -> None:
    filled(index)
    index.forget([D])
    for each in (index, again := Index(path, told)):
        assert each.content(D) is None
        assert each.at("s3://b/m", "f1") is None
        assert each.pinned("s3://b/m") is None
        assert each.holders == {"b"}
        assert each.content(E) is not None
    again.close()


def test_nothing_is_noted_of_what_nobody_knows(index: Index) -> None:
    index.note(D, facts="facts")
    index.seal(D, "seal")
    assert index.contents == ()
