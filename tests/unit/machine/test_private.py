"""The state folder is for its user alone, also where an older Overbook left it open."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from overbook.machine import private


def laid_out(root: Path) -> Path:
    """A state folder as it was once made."""
    for name in ("agents/mlserver-0", "cache/artifacts", "gateway", "environments/one/bin"):
        (root / name).mkdir(parents=True)
    for name in ("lock", "overbook.log.1", "agents/mlserver-0/server.log", "gateway/envoy.log"):
        (root / name).write_text("held")
        (root / name).chmod(0o644)
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return root


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_was_open_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = laid_out(tmp_path / "state")
    private.mend(root)
    assert mode(root) == mode(root / "agents") == mode(root / "agents/mlserver-0") == 0o700
    assert mode(root / "cache") == mode(root / "environments") == 0o700
    for name in ("lock", "overbook.log.1", "agents/mlserver-0/server.log", "gateway/envoy.log"):
        assert mode(root / name) == 0o600
    assert caplog.records == []


def test_a_program_stays_one(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "state")
    stub = root / "agents/mlserver-0/stub"
    stub.touch(0o755)
    private.mend(root)
    assert mode(stub) == 0o700


def test_what_is_not_overbooks_stays_as_it_is_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = laid_out(tmp_path / "state")
    (root / "thesis.tex").touch(0o644)
    outside = tmp_path / "outside"
    outside.touch(0o644)
    (root / "agents/link").symlink_to(outside)
    with caplog.at_level(logging.WARNING):
        private.mend(root)
    assert (mode(root), mode(root / "thesis.tex"), mode(outside)) == (0o755, 0o644, 0o644)
    assert mode(root / "agents") == 0o700
    [told] = [each.getMessage() for each in caplog.records]
    assert f"others may look into the state folder {root}" in told
    assert "chmod 700" in told


def test_a_folder_for_everybody_stays_one(tmp_path: Path) -> None:
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o1777)
    private.mend(root)
    assert root.stat().st_mode & 0o7777 == 0o1777


def test_what_this_process_and_its_children_make_is_closed(tmp_path: Path) -> None:
    script = (
        "import os, subprocess; from overbook.machine import private; private.from_now_on();"
        "open('own', 'w').close(); os.mkdir('folder'); subprocess.run(['touch', 'of-a-child'], check=True)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    found = {each.name: mode(each) for each in tmp_path.iterdir()}
    assert found == {"own": 0o600, "folder": 0o700, "of-a-child": 0o600}


def test_what_cannot_be_closed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = laid_out(tmp_path / "state")

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(Path, "chmod", refuse)
    private.mend(root)
    assert f"{root / 'lock'} stays open to others: Operation not permitted" in caplog.text
