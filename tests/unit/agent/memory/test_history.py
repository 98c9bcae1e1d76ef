"""Load times and last uses survive a restart; a file that cannot be read is no reason to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.memory import history as module
from overbook.agent.memory.history import History, Seen


def test_what_was_seen_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "sizes.db"
    before = History(path, "mlserver-1")
    before.note([Seen("a", "digest-a", 1.5, 1000.0), Seen("b", "", None, None)])
    before.note([Seen("a", "digest-a", 2.0, 1000.1)])
    assert before.last_used("a") == 1000.0, "the same moment, read by another clock"
    before.close()
    again = History(path, "mlserver-1")
    assert (again.load_seconds("digest-a"), again.last_used("a")) == (2.0, 1000.0)
    assert (again.load_seconds(""), again.last_used("b")) == (None, None)
    again.close()
    other = History(path, "mlserver-2")
    assert other.load_seconds("digest-a") is None, "another version may take other times"
    assert other.last_used("a") == 1000.0
    other.close()


def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 3)
    before = History(tmp_path / "sizes.db")
    before.note(Seen(f"m{n}", f"d{n}", 1.0, 100.0) for n in range(3))
    for n in range(10):
        before.note([Seen("m0", "d0", 2.0 + n, 200.0 + n)])  # who is busy pushes nobody out
    before.note([Seen("m3", "d3", 1.0, 200.0)])
    before.close()
    again = History(tmp_path / "sizes.db")
    assert [n for n in range(4) if again.last_used(f"m{n}")] == [0, 2, 3]
    assert [n for n in range(4) if again.load_seconds(f"d{n}")] == [0, 2, 3]
    again.close()


def test_a_file_that_cannot_be_read_or_written_loses_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sizes.db"
    path.write_bytes(b"no database at all" * 100)
    broken = History(path)
    broken.note([Seen("a", "d", 1.0, 100.0)])
    assert broken.last_used("a") == 100.0
    broken.close()
