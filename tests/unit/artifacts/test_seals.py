"""Seals: they differ after whatever a model's code may do to files of the cache, and not after what loads do."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.artifacts import walk
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.seals import seal_of


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """An artifact as it lies in the cache."""
    folder = tmp_path / "cache" / "0a1b"
    (folder / "1").mkdir(parents=True, mode=0o700)
    (folder / "1" / "model.bin").write_bytes(b"weights")
    (folder / "1" / "model.bin").chmod(0o400)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "latest").symlink_to("1")
    return folder


def write(path: Path) -> None:
    """Other bytes of the same length, with the times of before."""
    before = path.stat()
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.write(b"WEIGHTS")
    path.chmod(0o400)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def write_by_mapping(path: Path) -> None:
    path.chmod(0o600)
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:7] = b"WEIGHTS"
    path.chmod(0o400)


def replace(path: Path) -> None:
    before = path.stat()
    new = path.with_name("new")
    new.write_bytes(b"WEIGHTS")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)


def write_through_a_hard_link(path: Path) -> None:
    os.link(path, path.parent.parent.parent / "elsewhere")
    write(path.parent.parent.parent / "elsewhere")
    (path.parent.parent.parent / "elsewhere").unlink()


def relink(path: Path) -> None:
    (path.parent.parent / "latest").unlink()
    (path.parent.parent / "latest").symlink_to("/")


def lengthen(path: Path) -> None:
    path.chmod(0o600)
    os.truncate(path, 9)


def swap_with_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "in place": write,
    "by a mapping": write_by_mapping,
    "by another file": replace,
    "through a hard link": write_through_a_hard_link,
    "longer": lengthen,
    "gone": lambda path: path.unlink(),
    "one more": lambda path: (path.parent / "__pycache__").mkdir(),
    "one more at the top": lambda path: (path.parent.parent / "x").touch(),
    "renamed": lambda path: path.rename(path.with_name("other.bin")),
    "swapped with a folder": swap_with_a_folder,
    "another link": relink,
    "mode alone": lambda path: path.chmod(0o600),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_is_written_is_seen(kept: Path, change: Callable[[Path], object]) -> None:
    before = seal_of(kept)
    change(kept / "1" / "model.bin")
    assert seal_of(kept) != before


def test_what_publishing_and_loads_do_is_no_change(kept: Path, tmp_path: Path) -> None:
    before = seal_of(kept)
    published = kept.rename(tmp_path / "published")
    assert (published / "1" / "model.bin").read_bytes() == b"weights"
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "1").symlink_to(published / "1")
    with open(published / "1" / "model.bin", "rb") as file:
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ).close()
    os.listdir(published / "1")
    published.chmod(0o500)
    published.chmod(0o700)
    assert seal_of(published) == before


def test_another_copy_has_another_seal(kept: Path, tmp_path: Path) -> None:
    """It is of these very files, not of what is in them: that is the digest's."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "config.json").write_bytes(b"{}")
    one = seal_of(tmp_path / "copy")
    (tmp_path / "copy" / "config.json").unlink()
    (tmp_path / "copy" / "config.json").write_bytes(b"{}")
    assert seal_of(tmp_path / "copy") != one


def test_a_folder_that_was_filled_up_has_none(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_ENTRIES", 3)
    with pytest.raises(ArtifactError, match="more than 3 entries"):
        seal_of(kept)
    with pytest.raises(FileNotFoundError):
        seal_of(kept / "nothing")
