"""What was loaded outlives the agent; a file that cannot be read is begun anew."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from overbook.agent.kinds import ArtifactKind
from overbook.agent.proven import GoodContent, Proven

_CONTENT = GoodContent(
    "/a", "1", "d" * 40, 7, ArtifactKind("onnx", 7), ("sklearn",), "2", 3, (("a", "b"),)
)


def test_what_was_loaded_is_known_afterwards(tmp_path: Path) -> None:
    first = Proven(tmp_path / "new" / "proven.db", "mlserver-1")
    first.loaded("iris", _CONTENT)
    first.loaded("gone", _CONTENT)
    first.forget("gone")
    first.verified("files")
    first.close()
    again = Proven(tmp_path / "new" / "proven.db", "mlserver-1")
    assert again.good("iris") == _CONTENT
    assert again.good("gone") is None
    assert again.is_verified("files")
    again.loaded("iris", replace(_CONTENT, generation=4))
    again.close()
    assert Proven(tmp_path / "new" / "proven.db").good("iris") == replace(_CONTENT, generation=4)


def test_what_was_written_before_there_were_parameters_is_known(tmp_path: Path) -> None:
    first = Proven(tmp_path / "proven.db")
    first.loaded("iris", _CONTENT)
    first.close()
    with sqlite3.connect(tmp_path / "proven.db") as database:
        database.execute("UPDATE good SET facts = json_remove(facts, '$.parameters')")
    assert Proven(tmp_path / "proven.db").good("iris") == replace(_CONTENT, parameters=())


def test_another_runtime_has_loaded_nothing_yet(tmp_path: Path) -> None:
    first = Proven(tmp_path / "proven.db", "mlserver-1")
    first.verified("files")
    first.close()
    assert not Proven(tmp_path / "proven.db", "mlserver-2").is_verified("files")


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "proven.db"
    path.write_bytes(b"no database" * 100)
    fresh = Proven(path)
    fresh.loaded("iris", _CONTENT)
    fresh.close()
    assert Proven(path).good("iris") == _CONTENT


def test_rows_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "proven.db"
    Proven(path).close()
    with sqlite3.connect(path) as database:
        rows = [("a", "{}"), ("b", "nothing"), ("c", '{"source": 1}')]
        database.executemany("INSERT INTO good VALUES (?, ?)", rows)
    known = Proven(path)
    assert [known.good(name) for name in "abc"] == [None, None, None]
