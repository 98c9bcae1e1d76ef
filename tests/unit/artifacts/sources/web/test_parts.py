"""What is left of an earlier try is taken for what it is, wherever that try was ended."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.web.parts import Begun, Parts, parts_of

FILE = RemoteFile("folder/model.bin", 10, '"v1"')
WHOLE = b"0123456789"
DIGEST = hashlib.sha256(WHOLE).hexdigest()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "artifact"


@pytest.fixture
def parts(into: Path) -> Iterator[Parts]:
    made = Parts(into)
    yield made
    made.close()


def write(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)
    os.close(descriptor)


def again(into: Path) -> Parts:
    """What a process finds that comes after one that was killed."""
    found = Parts(into)
    found.close()
    return found


def test_a_part_is_gone_on_with(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    later = Parts(into)
    assert later.begun(FILE) == Begun(4, '"v1"')
    write(later.go_on(FILE), b"456789")
    later.close()
    assert later.path_of(FILE).read_bytes() == WHOLE
    assert later.whole(FILE) == ""


def test_nothing_that_is_not_whole_lies_where_whole_files_lie(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    assert list(into.rglob("*")) == []
    assert parts.path_of(FILE).parent == parts_of(into)


def test_a_part_of_another_version_is_not_gone_on_with(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    later = again(into)
    assert later.begun(replace(FILE, mark='"v2"')) is None
    assert later.begun(replace(FILE, size=11)) is None
    assert later.begun(replace(FILE, sha256="ab")) is None


def test_a_part_from_before_the_machine_was_started_is_not_trusted(
    into: Path, parts: Parts
) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    journal = parts_of(into) / "journal"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    journal.write_text(journal.read_text().replace(boot, "another-life"))
    assert again(into).begun(FILE) is None


def test_a_part_begun_anew_has_nothing_of_the_old_one(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    write(parts.begin(FILE, ""), b"ab")
    assert again(into).begun(FILE) == Begun(2, "")


def test_killed_between_the_line_and_the_part(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), b"")
    parts.path_of(FILE).unlink()
    assert again(into).begun(FILE) is None


def test_a_whole_file_is_known_with_its_digest(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), WHOLE)
    parts.finish(FILE, DIGEST)
    assert (into / FILE.name).read_bytes() == WHOLE
    later = again(into)
    assert later.whole(FILE) == DIGEST
    assert later.begun(FILE) is None
    assert later.whole(replace(FILE, mark='"v2"')) == ""


def test_killed_between_the_line_and_the_move(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), WHOLE)
    parts.finish(FILE, DIGEST)
    (into / FILE.name).rename(parts.path_of(FILE))
    later = again(into)
    assert later.whole(FILE) == DIGEST
    assert (into / FILE.name).read_bytes() == WHOLE


@pytest.mark.parametrize("kept", range(0, 40, 7))
def test_a_line_that_was_cut_off_tells_nothing(into: Path, parts: Parts, kept: int) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    journal = parts_of(into) / "journal"
    lines = journal.read_bytes()
    journal.write_bytes(lines + lines[:kept])
    later = Parts(into)
    assert later.begun(FILE) == Begun(4, '"v1"')
    later.finish(FILE, DIGEST)
    later.close()
    assert again(into).whole(FILE) == DIGEST


def test_what_is_dropped_is_gone(parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), b"0123")
    parts.drop(FILE)
    parts.drop(FILE)
    assert parts.begun(FILE) is None
    assert not parts.path_of(FILE).exists()


def test_names_that_are_no_text(into: Path, parts: Parts) -> None:
    odd = RemoteFile("f\udcff", 10, "x")
    write(parts.begin(odd, '"v1"'), WHOLE)
    parts.finish(odd, DIGEST)
    assert again(into).whole(odd) == DIGEST


def test_nobody_else_may_read_it(into: Path, parts: Parts) -> None:
    write(parts.begin(FILE, '"v1"'), WHOLE)
    parts.finish(FILE, DIGEST)
    for path in (into, parts_of(into), into / "folder", into / FILE.name):
        assert path.stat().st_mode & 0o077 == 0
