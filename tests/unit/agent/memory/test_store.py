"""Sizes survive a restart, one runtime's are not another's, and a damaged file is no reason to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.guesses import Guess
from overbook.agent.kinds import FILES, ArtifactKind
from overbook.agent.memory import store as module
from overbook.agent.memory.estimates import Evidence
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.memory.store import SizeStore
from overbook.agent.servers.protocol import Weight

MB = 1_000_000
NOWHERE = Path(":memory:")
A = Measurable("digest-a", ArtifactKind("pickle:some.Estimator", 10 * MB), "sklearn")


def known(store: SizeStore) -> Sizes:
    return Sizes(store, Guess(), lambda digest: None)


def test_what_was_learned_is_there_after_a_restart(tmp_path: Path) -> None:
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    sizes = known(store)
    sizes.took(A, 30 * MB)
    sizes.weighed(A, Weight(31 * MB, 60 * MB))
    sizes.gave(A, 30 * MB)
    sizes.grew(A, 2 * MB)
    sizes.peaked(A, 5 * MB)
    sizes.save()
    sizes.save()  # nothing new: nothing written
    store.close()
    again = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    expected = Evidence(
        A.kind, Weight(31 * MB, 60 * MB), (30 * MB,), (30 * MB,), (33 * MB,), 5 * MB, "sklearn"
    )
    assert again.load() == {A.digest: expected}
    assert known(again).charge(A, None) == 33 * MB
    again.close()
    other = SizeStore(tmp_path / "sizes.db", "mlserver-2")
    assert other.load() == {}
    other.close()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "sizes.db"
    path.write_bytes(b"no database at all" * 100)
    store = SizeStore(path, "mlserver-1")
    assert store.load() == {}
    store.save({"x": Evidence(A.kind, loads=(2,))})
    assert store.load() == {"x": Evidence(A.kind, loads=(2,))}
    store.close()


def test_a_damaged_row_costs_only_itself(tmp_path: Path) -> None:
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    store.save({"x": Evidence(A.kind, loads=(2,)), "y": Evidence(A.kind, loads=(3,))})
    store._db.execute("UPDATE evidence SET facts = '{\"loads\": 3}' WHERE digest = 'x'")
    assert set(store.load()) == {"y"}
    store.close()


def test_models_with_the_same_files_are_told_of_news_only() -> None:
    told: list[str] = []
    sizes = Sizes(SizeStore(NOWHERE, "mlserver-1"), Guess(), told.append)
    sizes.took(A, 30 * MB)
    sizes.took(A, 30 * MB + 1000)
    sizes.gave(A, 30 * MB)
    sizes.gave(Measurable("stranger", A.kind), 5)
    assert told == [A.digest, A.digest], "the first load and the first unload"
    assert sizes.measured(A, None) == 30 * MB + 1000


def forest(name: str, size: int, word: str = "pickle:some.Forest") -> Measurable:
    return Measurable(name, ArtifactKind(word, size), "sklearn")


def test_the_guess_follows_what_others_of_the_kind_became() -> None:
    sizes = known(SizeStore(NOWHERE, "mlserver-1"))
    new, other = forest("new", 50 * MB), forest("other", 50 * MB, "pickle:some.Text")
    before = sizes.charge(other, None)
    for number in range(3):
        sizes.weighed(forest(f"known-{number}", 10 * MB), Weight(25 * MB, 60 * MB))
    assert sizes.charge(new, None) == pytest.approx(125 * MB, rel=0.01)
    assert sizes.peak(new) == pytest.approx(300 * MB, rel=0.1)
    assert sizes.charge(other, None) == before, "one requirement covers unlike things"
    assert sizes.measured(new, None) is None, "a guess is no measurement"
    for number in range(3):
        sizes.forget(f"known-{number}")
    assert sizes.charge(new, None) == before


def test_contents_of_models_that_left_are_forgotten_but_not_their_sizes() -> None:
    sizes = known(SizeStore(NOWHERE, "mlserver-1"))
    sizes.introduce(A)
    assert sizes.content(A.digest) == A
    sizes.took(A, 30 * MB)
    sizes.keep_only(set())
    assert sizes.content(A.digest) == Measurable(A.digest, ArtifactKind(FILES, 0))
    assert sizes.charge(A, MB) == 30 * MB


def test_a_first_load_reserves_by_the_artifact_until_it_was_measured() -> None:
    sizes = known(SizeStore(NOWHERE, "mlserver-1"))
    assert sizes.reserve(A, None) > sizes.charge(A, None)
    assert sizes.reserve(A, MB) == sizes.reserve(A, None), "ten times too small"
    assert sizes.reserve(A, 100 * MB) == 0
    sizes.took(A, 30 * MB)
    assert sizes.reserve(A, None) == 0
    for number in range(3):
        sizes.took(forest(f"known-{number}", 10 * MB), (30 + number) * MB)
    assert sizes.reserve(forest("new", 10 * MB), None) > 31 * MB


def test_what_is_measured_again_and_again_pushes_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    store.save({name: Evidence(A.kind, loads=(2,)) for name in "abc"})
    for number in range(10):
        store.save({"a": Evidence(A.kind, loads=(number,))})
    assert set(store.load()) == set("abc")
    store.save({"d": Evidence(A.kind, loads=(2,))})
    assert set(store.load()) == set("acd"), "the one measured longest ago goes"
    store.close()


def test_what_was_deleted_is_measured_anew_when_it_comes_again(tmp_path: Path) -> None:
    store = SizeStore(tmp_path / "sizes.db", "mlserver-1")
    sizes = known(store)
    sizes.weighed(A, Weight(30 * MB, 60 * MB))
    sizes.save()
    sizes.forget(A.digest)
    sizes.save()
    assert sizes.charge(A, 5 * MB) == 5 * MB
    assert store.load() == {}
    store.close()
