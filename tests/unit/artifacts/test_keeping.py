"""Files as they lie in the cache."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.keeping import keep, open_regular
from overbook.artifacts.walk import MAX_ENTRIES
from tests.unit.artifacts.hostile import never_stopped, require_harmless


def test_all_that_was_brought_is_made_ours_alone(tmp_path: Path) -> None:
    root = tmp_path / "model"
    (root / "1" / "assets").mkdir(parents=True)
    for name in ("a", "1/b", "1/assets/c"):
        (root / name).write_bytes(b"x")
        (root / name).chmod(0o4755)
    (root / "latest").symlink_to("1")
    (root / "1").chmod(0o777)
    keep(root, never_stopped)
    require_harmless(root)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_what_a_link_leads_to_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "l").symlink_to("../secret")
    keep(tmp_path / "model", never_stopped)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o644


def test_it_can_be_stopped_and_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    (tmp_path / "a").touch()
    with pytest.raises(Stopped):
        keep(tmp_path, stop)
    monkeypatch.setattr("overbook.artifacts.walk.MAX_ENTRIES", 0)
    assert MAX_ENTRIES > 0
    with pytest.raises(ArtifactError, match="more than 0 entries"):
        keep(tmp_path, never_stopped)


def test_only_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"x"
    for name in ("link", "pipe", ".", "nothing"):
        with pytest.raises(OSError, match=r"regular file|symbolic links|No such file"):
            open_regular(tmp_path / name)
