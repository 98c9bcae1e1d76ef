"""Where files are while they come."""

from __future__ import annotations

from pathlib import Path

from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.rclone import places


def test_whole_is_a_plain_file_of_the_right_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "short").write_bytes(b"ab")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    names = ["a", "short", "folder", "link", "none"]
    files = [RemoteFile(name, 3, "") for name in names] + [RemoteFile("a", None, "")]
    assert [each.name for each in places.whole(tmp_path, files)] == ["a"]


def test_parts_lie_beside_the_folder_and_never_in_it(tmp_path: Path) -> None:
    into = tmp_path / "incoming" / "x"
    into.mkdir(parents=True)
    assert places.partial_folder(into).parent == into.parent


def test_a_file_is_moved_to_its_name(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"abc")
    places.move(tmp_path / "part", tmp_path / "into", "deep/down/a")
    assert (tmp_path / "into/deep/down/a").read_bytes() == b"abc"


def test_empty_folders_go_and_files_stay(tmp_path: Path) -> None:
    (tmp_path / "p/a/b").mkdir(parents=True)
    (tmp_path / "p/c").mkdir()
    (tmp_path / "p/c/file").write_bytes(b"")
    places.remove_empty(tmp_path / "p")
    assert not (tmp_path / "p/a").exists()
    assert (tmp_path / "p/c/file").exists()
    places.remove(tmp_path / "p")
    assert not (tmp_path / "p").exists()
