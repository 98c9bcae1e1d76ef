"""Who holds an environment is heard of by others, and is forgotten when it ends."""

from __future__ import annotations

from pathlib import Path

from overbook.runtimes.in_use import held, is_held
from overbook.runtimes.installer import complete


def test_it_may_be_held_by_many(tmp_path: Path) -> None:
    assert not is_held(tmp_path), "one that is not whole"
    complete(tmp_path, {})
    with held(tmp_path):
        with held(tmp_path):
            assert is_held(tmp_path)
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
