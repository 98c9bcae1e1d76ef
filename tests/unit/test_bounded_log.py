"""A log that somebody else appends to stays small, loses nothing on the way, and can be read on from any place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook import bounded_log
from overbook.bounded_log import PIECE_BYTES, BoundedLog, Piece

LINE = b"0123456789abcde\n"  # 256 of them are a block


@pytest.fixture
def log(tmp_path: Path) -> BoundedLog:
    return BoundedLog(tmp_path / "server.log", most=8192, kept=2)


@pytest.fixture(params=["blocks are taken away", "the file is cut"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file system can do."""
    if request.param == "the file is cut":
        monkeypatch.setattr(bounded_log, "_collapse", lambda descriptor, count: False)


def write(log: BoundedLog, data: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(data)


def followed(log: BoundedLog, begin: Piece) -> Iterator[bytes]:
    at = begin.next
    while (piece := log.after(at)).data:
        assert not piece.missed
        at = piece.next
        yield piece.data


def test_the_last_lines_and_those_after_them(log: BoundedLog) -> None:
    assert log.last(10) == Piece(b"", log.last(10).next)
    write(log, b"a\nb\nc\n")
    first = log.last(2)
    assert first.data == b"b\nc\n"
    assert log.last(0).data == b""
    assert log.after(first.next).data == b""
    write(log, b"d\ne")
    second = log.after(first.next)
    assert second.data == b"d\n", "what is still being written comes when it is whole"
    write(log, b"!\n")
    assert log.after(second.next).data == b"e!\n"


def test_another_life_begins_where_this_one_began(log: BoundedLog) -> None:
    write(log, b"old\n")
    later = BoundedLog(log.path)
    write(later, b"new\n")
    assert later.after(log.last(0).next).data == b"new\n"
    assert later.after("nonsense").data == b"new\n"


@pytest.mark.usefixtures("either")
def test_what_is_large_moves_aside_and_is_read_on(log: BoundedLog) -> None:
    log.trim()  # nothing there
    begin = log.last(0)
    written = b""
    for number in range(3):
        more = (b"%015d\n" % number) * 600  # 9600 bytes
        written += more
        write(log, more)
        log.trim()
    sizes = {path.name: path.stat().st_size for path in log.path.parent.iterdir()}
    assert set(sizes) == {"server.log", "server.log.1", "server.log.2"}
    assert sizes["server.log"] < 4096
    assert sizes["server.log.1"] <= 8192 + 4096
    # The file before this one is still read; what was in the one before that is said to be missing.
    late = log.after(begin.next)
    assert late.missed
    assert written.endswith(late.data)
    assert len(late.data) >= 8192
    assert log.last(700).data == written[-len(log.last(700).data) :]
    write(log, LINE)
    assert log.after(late.next).data == LINE


@pytest.mark.usefixtures("either")
def test_of_a_flood_only_the_end_is_kept(log: BoundedLog) -> None:
    write(log, LINE * 10_000)
    log.path.chmod(0o600)
    log.trim()
    assert (log.path.parent / "server.log.1").stat().st_mode & 0o777 == 0o600
    assert sum(path.stat().st_size for path in log.path.parent.iterdir()) <= 8192 + 4096
    assert log.last(1).data == LINE


def test_a_reader_gets_pieces_of_bounded_size(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "server.log")
    begin = log.last(0)
    write(log, LINE * 40_000)
    pieces = list(followed(log, begin))
    assert b"".join(pieces) == LINE * 40_000
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert len(log.last(10**6).data) <= PIECE_BYTES
    write(log, b"x" * (PIECE_BYTES + 1))
    assert len(log.after(log.last(0).next).data) == 0
    assert len(log.after(begin.next).data) <= PIECE_BYTES


def test_a_line_without_an_end_is_read_in_pieces(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "server.log")
    begin = log.last(0)
    write(log, b"x" * (2 * PIECE_BYTES))
    assert len(log.after(begin.next).data) == PIECE_BYTES


def test_a_file_that_somebody_emptied_is_read_from_its_head(log: BoundedLog) -> None:
    write(log, b"a\nb\n")
    at = log.last(0).next
    os.truncate(log.path, 0)
    write(log, b"c\n")
    assert log.after(at).data == b"c\n"


# Prints as fast as it can, and says when it is done.
_FLOOD = """
import os, sys
piece = b"x" * 63 + b"\\n"
piece *= 1024
for _ in range(int(sys.argv[1]) // len(piece)):
    os.write(1, piece)
"""


@pytest.mark.usefixtures("either")
async def test_a_flood_is_cut_while_it_comes(tmp_path: Path) -> None:
    """With looks once in a second, or a copy that runs after the writer, most of it is on the disk at once."""
    total, most = 1_000_000_000, 4 * 1024 * 1024
    log = BoundedLog(tmp_path / "server.log", most=most)
    keeping = asyncio.create_task(log.run())
    command = (sys.executable, "-S", "-c", _FLOOD, str(total))
    with log.path.open("ab") as file:
        writer = await asyncio.create_subprocess_exec(*command, stdout=file)
    writing = asyncio.create_task(writer.wait())
    largest = 0
    while not writing.done():
        await asyncio.wait({writing}, timeout=0.005)
        largest = max(largest, on_disk(tmp_path))
    assert writing.result() == 0
    assert largest < total / 2
    async with asyncio.timeout(120):
        while on_disk(tmp_path) > 4 * most + 4096:  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.005)
    assert log.last(1).data == b"x" * 63 + b"\n"
    keeping.cancel()
    await asyncio.wait({keeping})


async def test_what_cannot_be_shortened_is_told_once_and_looked_at_again(
    log: BoundedLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bounded_log, "_TRY_AGAIN_SECONDS", 0.001)
    tries: list[None] = []

    def fail() -> None:
        tries.append(None)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "trim", fail)
    write(log, LINE * 1000)
    keeping = asyncio.create_task(log.run())
    async with asyncio.timeout(5):
        while len(tries) < 3:  # noqa: ASYNC110 - a thread's
            await asyncio.sleep(0.005)
    keeping.cancel()
    await asyncio.wait({keeping})
    assert caplog.text.count("cannot shorten") == 1


async def test_a_fault_in_keeping_it_is_raised(
    log: BoundedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ValueError("a fault")

    monkeypatch.setattr(log, "trim", fail)
    write(log, LINE * 1000)
    with pytest.raises(ValueError, match="a fault"):
        async with asyncio.timeout(5):
            await log.run()


def on_disk(folder: Path) -> int:
    """Bytes of the log and its earlier files."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


# As fast as it can, but never further ahead than what is kept: a round for each line of its input.
_ROUND = 2000
_WRITER = f"""
import os, sys
for start in range(0, 10**9, {_ROUND}):
    if not sys.stdin.readline():
        break
    for number in range(start, start + {_ROUND}):
        os.write(1, b"%015d\\n" % number)
"""


def test_nothing_is_lost_while_somebody_writes(tmp_path: Path) -> None:
    """Every line is read once and in order, through all that moves aside while it is written."""
    with tempfile.NamedTemporaryFile(dir=tmp_path) as probe:
        probe.write(b"x" * 8192)
        probe.flush()
        if not bounded_log._collapse(probe.fileno(), 4096):
            pytest.skip("this file system cannot take away blocks")
    log = BoundedLog(tmp_path / "server.log", most=64 * 1024, kept=1)
    at, found = log.last(0).next, bytearray()
    with log.path.open("ab") as file:
        writer = subprocess.Popen(
            [sys.executable, "-S", "-c", _WRITER], stdin=subprocess.PIPE, stdout=file
        )
    with writer:
        assert writer.stdin is not None
        for done in range(1, 61):
            writer.stdin.write(b"go\n")
            writer.stdin.flush()
            while len(found) < 16 * _ROUND * done:
                log.trim()
                piece = log.after(at)
                assert not piece.missed
                assert piece.data or writer.poll() is None
                at = piece.next
                found += piece.data
        writer.stdin.close()
    assert bytes(found) == b"".join(b"%015d\n" % number for number in range(60 * _ROUND))
    assert (tmp_path / "server.log.1").exists()
