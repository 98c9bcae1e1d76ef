"""A file is digested while it grows."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from overbook.artifacts.sources.rclone.arriving import Arriving


def test_the_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    parts = [os.urandom(700_000) for _ in range(4)]
    whole = b"".join(parts)
    path = tmp_path / "part"
    path.write_bytes(parts[0])
    seen: list[int] = []
    here = threading.Event()

    def see(count: int) -> None:
        seen.append(count)
        here.set()

    arriving = Arriving(os.open(path, os.O_RDONLY), len(whole), "md5", see)
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(arriving.follow()))
    thread.start()
    with path.open("ab") as file:
        for part in parts[1:]:
            assert here.wait(5)
            here.clear()
            file.write(part)
            file.flush()
    thread.join(5)
    assert found == [hashlib.md5(whole).hexdigest()]
    assert sum(seen) == len(whole)


def test_what_came_last_is_read_even_when_it_is_said_that_there_is_no_more(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"abc")
    arriving = Arriving(os.open(path, os.O_RDONLY), 3, "sha256", lambda _: None)
    arriving.no_more()
    assert arriving.follow() == hashlib.sha256(b"abc").hexdigest()


def test_a_file_that_stays_short_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"ab")
    arriving = Arriving(os.open(path, os.O_RDONLY), 3, "sha256", lambda _: None)
    arriving.no_more()
    assert arriving.follow() is None
    assert arriving.read == 2


def test_no_more_is_read_than_was_listed(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"abcdef")
    arriving = Arriving(os.open(path, os.O_RDONLY), 3, "sha256", lambda _: None)
    assert arriving.follow() == hashlib.sha256(b"abc").hexdigest()
