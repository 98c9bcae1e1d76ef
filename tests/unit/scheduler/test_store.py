"""Rows in, rows out; all or nothing; one owner."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.scheduler.errors import StoreError
from overbook.scheduler.store import (
    SCHEMA_VERSION,
    Batch,
    ModelRow,
    SeatRow,
    SecretRow,
    ServerRow,
    Store,
    TokenRow,
)

TOKEN = TokenRow("me", b"\x01digest", "infer", "team-a-*\nshared", 1.0, None, 0.0)

SERVER = ServerRow("mlserver", "v", 1, "", '{"memory":"1M"}', 1.0, 1000)


def model(name: str, created: float = 1.0, generation: int = 1) -> ModelRow:
    return ModelRow(name, "v", generation, 1, "", "{}", None, created, 0, "f", 10, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "deep" / "state.db")
    yield store
    store.close()


def test_what_was_committed_is_read_back(store: Store) -> None:
    seat = SeatRow("b", "mlserver", 0, 2)
    store.commit(Batch(models=[model("b", 2.0), model("a", 3.0)], seats=[seat], servers=[SERVER]))
    found = store.load()
    assert found.servers == [SERVER]
    assert [row.name for row in found.models] == ["b", "a"], "in the order of registration"
    assert found.seats == [seat]


def test_the_seats_of_a_written_model_are_replaced(store: Store) -> None:
    store.commit(
        Batch(models=[model("a")], seats=[SeatRow("a", "s", 0, 0), SeatRow("a", "s", 1, 0)])
    )
    store.commit(Batch(models=[model("a", generation=2)], seats=[SeatRow("a", "t", 0, 1)]))
    found = store.load()
    assert found.models == [model("a", generation=2)]
    assert found.seats == [SeatRow("a", "t", 0, 1)]


def test_what_is_gone_takes_its_seats_along(store: Store) -> None:
    store.commit(Batch(models=[model("a")], seats=[SeatRow("a", "s", 0, 0)], servers=[SERVER]))
    store.commit(Batch(gone_models=["a"], gone_servers=["mlserver"]))
    found = store.load()
    assert (found.models, found.seats, found.servers) == ([], [], [])


def test_a_batch_that_fails_leaves_nothing(store: Store) -> None:
    twice = [SeatRow("a", "s", 0, 0), SeatRow("a", "s", 0, 1)]
    with pytest.raises(StoreError, match="could not be written"):
        store.commit(Batch(models=[model("a")], seats=twice))
    assert store.load().models == []
    store.commit(Batch(models=[model("a")]))
    assert len(store.load().models) == 1


def test_two_schedulers_cannot_share_a_store(tmp_path: Path) -> None:
    first = Store(tmp_path / "state.db")
    try:
        with pytest.raises(StoreError, match="another scheduler has it open") as caught:
            Store(tmp_path / "state.db")
        assert "\n" not in str(caught.value)
    finally:
        first.close()
    Store(tmp_path / "state.db").close()


def test_a_store_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path / "state.db").close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match="newer overbook"):
        Store(tmp_path / "state.db")


@pytest.mark.parametrize(
    ("version", "later"), [(1, ("made_for", "called")), (2, ("called",)), (3, ()), (4, ())]
)
def test_a_store_of_an_older_version_is_brought_up_to_date(
    tmp_path: Path, version: int, later: tuple[str, ...]
) -> None:
    store = Store(tmp_path / "state.db")
    store.commit(Batch(models=[model("a")]))
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("DROP TABLE tokens")
        if version < 4:
            db.execute("DROP TABLE secrets")
        for column in later:
            db.execute(f"ALTER TABLE models DROP COLUMN {column}")
        db.execute(f"PRAGMA user_version={version}")
    db.close()
    store = Store(tmp_path / "state.db")
    assert store.load().models == [model("a")]
    store.commit(Batch(models=[model("b")._replace(made_for="triton", called="x\ny")]))
    store.close()
    store = Store(tmp_path / "state.db")
    assert [row.made_for for row in store.load().models] == ["", "triton"]
    assert [row.called for row in store.load().models] == ["", "x\ny"]
    store.commit(Batch(secrets=[SecretRow("minio", b"\x00sealed", 1.5)]))
    assert store.load().secrets == [SecretRow("minio", b"\x00sealed", 1.5)]
    store.commit(Batch(tokens=[TOKEN]))
    assert store.load().tokens == [TOKEN]
    store.close()


@pytest.mark.parametrize(("version", "later"), [(5, ("rate", "waiting")), (6, ("waiting",))])
def test_tokens_of_an_older_version_have_no_limits(
    tmp_path: Path, version: int, later: tuple[str, ...]
) -> None:
    store = Store(tmp_path / "state.db")
    store.commit(Batch(tokens=[TOKEN]))
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        for column in later:
            db.execute(f"ALTER TABLE tokens DROP COLUMN {column}")
        db.execute(f"PRAGMA user_version={version}")
    db.close()
    store = Store(tmp_path / "state.db")
    limited = TOKEN._replace(name="limited", rate=5, waiting=7)
    store.commit(Batch(tokens=[limited]))
    assert sorted(store.load().tokens) == sorted([TOKEN, limited])
    store.close()


def test_tokens_are_stored_replaced_and_gone(tmp_path: Path, store: Store) -> None:
    other = TOKEN._replace(name="other", expires=9.0)
    store.commit(Batch(tokens=[TOKEN, other]))
    store.commit(Batch(tokens=[other._replace(used=5.0)], gone_tokens=[TOKEN.name, "none"]))
    assert store.load().tokens == [other._replace(used=5.0)]


def test_secrets_are_stored_replaced_and_gone(tmp_path: Path, store: Store) -> None:
    one, other = SecretRow("a", b"1", 1.0), SecretRow("b", b"2", 2.0)
    store.commit(Batch(secrets=[one, other]))
    store.commit(Batch(secrets=[one._replace(sealed=b"3", updated=3.0)], gone_secrets=["b", "c"]))
    assert store.load().secrets == [SecretRow("a", b"3", 3.0)]


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="could not be opened"):
        Store(tmp_path / "state.db")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be opened"):
        Store(tmp_path / "file" / "state.db")


def test_the_journal_is_written_ahead(tmp_path: Path, store: Store) -> None:
    store.close()
    header = (tmp_path / "deep" / "state.db").read_bytes()[:20]
    assert header[18:20] == b"\x02\x02", "SQLite's mark of WAL"
