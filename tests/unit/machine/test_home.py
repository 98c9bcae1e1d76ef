"""Without a home folder, state and runtimes go where --state-dir says, or it is said what to give."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from overbook.machine.folders import StateUnusable
from overbook.machine.home import state_folder

VARIABLES = (
    *("HOME", "OVERBOOK_STATE_DIR", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"),
    *("OVERBOOK_RUNTIMES_DIR", "UV_CACHE_DIR"),
)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        # Set first, so that what is set by the code is undone as well.
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)


@pytest.fixture
def homeless(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)


def test_with_a_home_folder_nothing_else_is_set(
    bare: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert state_folder(None) == tmp_path / "me" / ".local" / "state" / "overbook"
    assert state_folder(Path("here")) == tmp_path / "here"
    assert "OVERBOOK_RUNTIMES_DIR" not in os.environ


def test_without_one_everything_goes_into_the_state_folder(homeless: None, tmp_path: Path) -> None:
    assert state_folder(Path("here")) == tmp_path / "here"
    assert os.environ["OVERBOOK_RUNTIMES_DIR"] == str(tmp_path / "here" / "runtimes")
    assert os.environ["UV_CACHE_DIR"] == str(tmp_path / "here" / "downloads")


def test_what_the_environment_says_counts(
    homeless: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OVERBOOK_STATE_DIR", "/state")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert state_folder(None) == Path("/state")
    assert "OVERBOOK_RUNTIMES_DIR" not in os.environ
    assert "UV_CACHE_DIR" not in os.environ


def test_where_nothing_says_it_is_asked_for(homeless: None) -> None:
    with pytest.raises(StateUnusable, match=r"no home folder to keep state in: .* --state-dir"):
        state_folder(None)
