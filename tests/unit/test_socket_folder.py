"""Folders for Unix sockets: private, at a place that is the same in every run, and short enough for the kernel."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from overbook import socket_folder


def test_a_short_and_plain_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert socket_folder.place(Path("/var/lib/overbook/run")) == Path("/var/lib/overbook/run")


@pytest.mark.parametrize("wanted", ["/srv/" + "long" * 20, "/srv/a b", "/srv/50%", "/srv/é"])
def test_others_lie_in_the_temporary_folder(wanted: str) -> None:
    found = socket_folder.place(Path(wanted))
    assert found.parent == Path(tempfile.gettempdir())
    assert found == socket_folder.place(Path(wanted))
    assert found != socket_folder.place(Path(wanted, "spare"))
    assert len(str(found)) < 80


def test_it_is_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    assert socket_folder.made(folder).stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "rest"))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (tmp_path / "run").symlink_to(elsewhere)
    with pytest.raises(socket_folder.NotOurs, match="is a link; set TMPDIR"):
        socket_folder.made(tmp_path / "run")
    assert elsewhere.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(socket_folder.NotOurs, match="belongs to another user"):
        socket_folder.made(tmp_path / "run")
