"""A file is digested by a process of its own while it grows. Real processes, no waiting for time."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import psutil
import pytest

from overbook.artifacts.sources.rclone import arriving
from overbook.artifacts.sources.rclone.digester import digesting


@pytest.fixture
def part(tmp_path: Path) -> int:
    return os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT | os.O_APPEND)


async def test_the_digests_are_those_of_the_whole_file_and_all_bytes_are_told(part: int) -> None:
    pieces = [os.urandom(3_000_000) for _ in range(4)]
    whole = b"".join(pieces)
    seen: list[int] = []
    os.write(part, pieces[0])
    async with digesting(part, len(whole), ("sha256", "md5"), seen.append) as ended:
        for piece in pieces[1:]:
            os.write(part, piece)
        found = await ended()
    assert found == (hashlib.sha256(whole).hexdigest(), hashlib.md5(whole).hexdigest())
    assert sum(seen) == len(whole)


async def test_of_a_file_that_stays_short_there_is_none(part: int) -> None:
    os.write(part, b"ab")
    async with digesting(part, 3, ("sha256",), lambda _: None) as ended:
        assert await ended() == ()


async def test_it_is_last_in_line_and_ends_with_the_block(part: int) -> None:
    async with digesting(part, 3, ("sha256",), lambda _: None):
        [child] = psutil.Process().children()
        # It is when it has begun to read.
        while child.nice() != 19:  # noqa: ASYNC110  nothing tells when
            await asyncio.sleep(0)
    assert not child.is_running()


async def test_a_program_that_fails_says_why(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with digesting(part, 3, ("no such digest",), lambda _: None) as ended:
        with pytest.raises(OSError, match=r"ended with code 1: .*no such digest"):
            await ended()
    monkeypatch.setattr(arriving, "__file__", "/no/such/program.py")
    async with digesting(part, 3, ("sha256",), lambda _: None) as ended:
        with pytest.raises(OSError, match="ended with code 2"):
            await ended()
