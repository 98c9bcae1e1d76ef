"""Whatever is in place of a file of what was learned, there is one to learn into."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.database import opened
from tests.small_disk import fill, small_disk

SCHEMA = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY)"
PROBE = "SELECT count(*) FROM facts"


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "64k") as disk:
        yield disk


def learn(path: Path, told: list[str]) -> sqlite3.Connection:
    found = opened(path, SCHEMA, probe=PROBE, tell=told.append)
    found.execute("INSERT OR REPLACE INTO facts VALUES ('one')")
    return found


def known(database: sqlite3.Connection) -> int:
    (count,) = database.execute(PROBE).fetchone()
    assert isinstance(count, int)
    return count


def test_what_was_learned_is_there_again(tmp_path: Path) -> None:
    told: list[str] = []
    learn(tmp_path / "new" / "facts.db", told).close()
    again = opened(tmp_path / "new" / "facts.db", SCHEMA, probe=PROBE, tell=told.append)
    assert known(again) == 1
    assert not told
    again.close()


@pytest.mark.parametrize("rubbish", [b"no database" * 500, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, rubbish: bytes) -> None:
    told: list[str] = []
    (tmp_path / "facts.db").write_bytes(rubbish)
    learn(tmp_path / "facts.db", told).close()
    assert len(told) == 1
    assert "facts.db cannot be read (" in told[0]
    again = opened(tmp_path / "facts.db", SCHEMA, probe=PROBE, tell=told.append)
    assert known(again) == 1
    again.close()


def test_a_table_of_another_shape_is_begun_anew(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "facts.db") as other:
        other.execute("CREATE VIEW facts AS SELECT one FROM nowhere")
    other.close()
    told: list[str] = []
    learn(tmp_path / "facts.db", told).close()
    assert len(told) == 1


@pytest.mark.parametrize(
    "columns",
    [
        "name TEXT, seen REAL",
        "name TEXT PRIMARY KEY, seen REAL, more TEXT",
        "name INTEGER PRIMARY KEY, seen REAL",
        "name TEXT PRIMARY KEY",
        "seen REAL, name TEXT PRIMARY KEY",
    ],
)
def test_a_table_with_other_columns_is_begun_anew(tmp_path: Path, columns: str) -> None:
    """Of another version, or somebody else's: `CREATE TABLE IF NOT EXISTS` and the probe are content with it."""
    with sqlite3.connect(tmp_path / "facts.db") as other:
        other.execute(f"CREATE TABLE facts ({columns})")
    other.close()
    told: list[str] = []
    schema = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, seen REAL);"
    for _ in range(2):
        database = opened(tmp_path / "facts.db", schema, probe=PROBE, tell=told.append)
        database.execute("INSERT OR REPLACE INTO facts VALUES ('one', 1.0)")
        assert known(database) == 1
        database.close()
    assert len(told) == 1
    assert "facts.db cannot be read (its table facts has the columns " in told[0]
    assert told[0].endswith("expected name TEXT, seen REAL); it is begun anew")


def test_tables_of_others_in_the_same_file_stay(tmp_path: Path) -> None:
    others = "CREATE TABLE IF NOT EXISTS sizes (bytes INTEGER)"
    told: list[str] = []
    sizes = opened(
        tmp_path / "facts.db", others, probe="SELECT count(*) FROM sizes", tell=told.append
    )
    sizes.execute("CREATE TABLE facts (other TEXT)")
    learn(tmp_path / "facts.db", told).close()
    assert len(told) == 1
    sizes.execute("INSERT INTO sizes VALUES (5)")
    sizes.close()
    again = opened(
        tmp_path / "facts.db", others, probe="SELECT count(*) FROM sizes", tell=told.append
    )
    assert again.execute("SELECT bytes FROM sizes").fetchall() == [(5,)]
    assert known(again) == 1
    again.close()


def test_a_folder_in_its_place_costs_what_was_learned_alone(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "facts.db" / "mine").mkdir(parents=True)
    database = learn(tmp_path / "facts.db", told)
    assert known(database) == 1
    assert len(told) == 1
    assert "there is a folder in its place" in told[0]
    assert (tmp_path / "facts.db" / "mine").is_dir(), "it is somebody's"
    database.close()


def test_a_full_disk_loses_no_file_that_is_good(full_disk: Path) -> None:
    told: list[str] = []
    learn(full_disk / "facts.db", told).close()
    fill(full_disk)
    database = opened(full_disk / "facts.db", SCHEMA, probe=PROBE, tell=told.append)
    database.close()
    (full_disk / "filler").unlink()
    again = opened(full_disk / "facts.db", SCHEMA, probe=PROBE, tell=told.append)
    assert known(again) == 1
    again.close()


def test_on_a_full_disk_there_is_still_room_to_learn(full_disk: Path) -> None:
    fill(full_disk)
    told: list[str] = []
    database = learn(full_disk / "facts.db", told)
    assert known(database) == 1
    assert len(told) == 1
    assert "cannot be used" in told[0]
    database.close()


def test_it_is_for_its_user_alone_and_its_journal_is_small(tmp_path: Path) -> None:
    path = tmp_path / "facts.db"
    path.touch(mode=0o644)
    database = learn(path, [])
    for number in range(200):
        database.execute("INSERT INTO facts VALUES (?)", (f"{number}" + 4000 * "x",))
    modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("facts.db", "facts.db-wal", "facts.db-shm"), 0o600)
    assert (tmp_path / "facts.db-wal").stat().st_size < 600_000
