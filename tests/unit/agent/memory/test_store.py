"""Sizes survive a restart, one runtime's are not another's, and a damaged file is no reason to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.guesses import FACTOR
from overbook.agent.memory import store as module
from overbook.agent.memory.estimates import Evidence
from overbook.agent.memory.sizes import Content, Sizes
from overbook.agent.memory.store import SizeStore
from overbook.agent.servers.protocol import Weight

MB = 1_000_000
A = Content("digest-a", 10 * MB, "sklearn")


def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    sizes = Sizes(store)
    sizes.took(A, 30 * MB)
    sizes.weighed(A, Weight(31 * MB, 60 * MB))
    sizes.gave(A, 30 * MB)
    sizes.peaked(A, 5 * MB)
    sizes.save()
    sizes.save()  # nothing new: nothing written
    store.close()
    again = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    expected = Evidence(
        10 * MB, Weight(31 * MB, 60 * MB), (30 * MB,), (30 * MB,), 5 * MB, "sklearn"
    )
    assert again.load() == {A.digest: expected}
    assert Sizes(again).charge(A, None) == 31 * MB
    again.close()
    other = SizeStore(tmp_path / "sizes.db", "mlserver-2")
    assert other.load() == {}
    other.close()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "sizes.db"
    path.write_bytes(b"no database at all" * 100)
    store = SizeStore(path, "mlserver-1")
    assert store.load() == {}
    store.save({"x": Evidence(1, loads=(2,))})
    assert store.load() == {"x": Evidence(1, loads=(2,))}
    store.close()


def test_a_damaged_row_costs_only_itself(tmp_path: Path) -> None:
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    store.save({"x": Evidence(1, loads=(2,)), "y": Evidence(1, loads=(3,))})
    store._db.execute("UPDATE evidence SET facts = '{\"loads\": 3}' WHERE digest = 'x'")
    assert set(store.load()) == {"y"}
    store.close()


def test_models_with_the_same_files_are_told_of_news_only() -> None:
    sizes, told = Sizes(), list[str]()
    sizes.on_change = told.append
    sizes.took(A, 30 * MB)
    sizes.took(A, 30 * MB + 1000)
    sizes.gave(A, 30 * MB)
    sizes.gave(Content("stranger", 1), 5)
    assert told == [A.digest, A.digest], "the first load and the first unload"
    assert sizes.measured(A, None) == 30 * MB + 1000
    assert sizes.wrong(A, MB)
    assert not sizes.wrong(A, None)


def test_the_guess_follows_what_others_of_the_kind_became() -> None:
    sizes = Sizes()
    new = Content("new", 100 * MB, "sklearn")
    assert sizes.charge(new, None) == int(100 * MB * FACTOR)
    for number in range(3):
        sizes.took(Content(f"known-{number}", 10 * MB, "sklearn"), 25 * MB)
    assert sizes.charge(new, None) == 250 * MB
    assert sizes.charge(Content("other", 100 * MB, "xgboost"), None) == int(100 * MB * FACTOR)


def test_contents_of_models_that_left_are_forgotten_but_not_their_sizes() -> None:
    sizes = Sizes()
    sizes.introduce(A)
    assert sizes.content(A.digest) == A
    sizes.took(A, 30 * MB)
    sizes.keep_only(set())
    assert sizes.content(A.digest) == Content(A.digest, 0)
    assert sizes.charge(A, MB) == 30 * MB


def test_a_first_load_reserves_by_the_artifact_until_it_was_measured() -> None:
    sizes = Sizes()
    assert sizes.reserve(A, None) > sizes.charge(A, None)
    assert sizes.reserve(A, MB) == sizes.reserve(A, None), "ten times too small"
    assert sizes.reserve(A, 100 * MB) == 0
    sizes.took(A, 30 * MB)
    assert sizes.reserve(A, None) == 0
    before = sizes.reserve(Content("new", 10 * MB, "sklearn"), None)
    for number in range(2):
        sizes.took(Content(f"known-{number}", 10 * MB, "sklearn"), 30 * MB)
    assert sizes.reserve(Content("new", 10 * MB, "sklearn"), None) > before >= 15 * MB


def test_what_is_measured_again_and_again_pushes_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    store.save({name: Evidence(1, loads=(2,)) for name in "abc"})
    for number in range(10):
        store.save({"a": Evidence(1, loads=(number,))})
    assert set(store.load()) == set("abc")
    store.save({"d": Evidence(1, loads=(2,))})
    assert set(store.load()) == set("acd"), "the one measured longest ago goes"
    store.close()


def test_what_was_deleted_is_measured_anew_when_it_comes_again(tmp_path: Path) -> None:
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    sizes = Sizes(store)
    sizes.weighed(A, Weight(30 * MB, 60 * MB))
    sizes.save()
    sizes.forget(A.digest)
    sizes.save()
    assert sizes.charge(A, 5 * MB) == 5 * MB
    assert store.load() == {}
    store.close()
