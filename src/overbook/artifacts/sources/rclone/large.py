"""Brings one large file: rclone writes it from front to end, and it is digested while it comes.

What came in part stays, however rclone or this process ended: the next try begins behind it.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from overbook.artifacts.sources.protocol import Progress, Received, RemoteFile
from overbook.artifacts.sources.rclone import places
from overbook.artifacts.sources.rclone.arriving import Arriving, Digests
from overbook.artifacts.sources.rclone.listing import md5_of
from overbook.artifacts.sources.rclone.mismatch import Mismatch
from overbook.artifacts.sources.rclone.program import Job, Program
from overbook.artifacts.sources.rclone.remotes import Remote
from overbook.artifacts.sources.rclone.sections import MAIN
from overbook.artifacts.sources.rclone.troubles import explained


@dataclass(frozen=True, slots=True)
class Wish:
    """One file of an artifact. ``size``: bytes, as listed. ``rate``: bytes per second, None for as fast as it goes."""

    remote: Remote
    file: RemoteFile
    size: int
    into: Path
    progress: Progress
    rate: int | None


async def bring_large(program: Program, threads: Executor, wish: Wish) -> Received:
    """Raises SourceError, Mismatch, OSError. Cancelling leaves what came in part."""
    part = places.partial_folder(wish.into) / wish.file.name
    part.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(part, flags, 0o600)
    try:
        digests = await _fill(program, threads, wish, descriptor)
    finally:
        os.close(descriptor)
    md5 = md5_of(wish.file)
    if md5 and digests.md5 != md5:
        # Going on behind wrong bytes would never make them right.
        part.unlink()
        raise Mismatch(wish.file.name, f"its MD5 is {digests.md5}, not {md5}")
    places.move(part, wish.into, wish.file.name)
    return Received(wish.file.name, wish.size, digests.sha256)


async def _fill(program: Program, threads: Executor, wish: Wish, descriptor: int) -> Digests:
    if os.fstat(descriptor).st_size > wish.size:
        os.ftruncate(descriptor, 0)
    have = os.fstat(descriptor).st_size
    md5 = bool(md5_of(wish.file))
    arriving = Arriving(os.dup(descriptor), wish.size, wish.progress, md5=md5)
    loop = asyncio.get_running_loop()
    following = loop.run_in_executor(threads, arriving.follow)
    try:
        outcome = None
        if have < wish.size:
            folder, _, name = wish.file.origin.rpartition("/")
            job = Job(
                _arguments(wish, folder, have),
                listed=f"{name}\0".encode(),
                output=descriptor,
                news=lambda: os.fstat(descriptor).st_size,
            )
            outcome = await program.run(wish.remote, job)
        arriving.no_more()
        digests = await asyncio.shield(following)
    finally:
        arriving.no_more()
    if digests is not None:
        return digests
    if outcome is not None and not outcome.well:
        raise explained(wish.remote, outcome)
    raise Mismatch(wish.file.name, f"{arriving.read} bytes came, not {wish.size}")


def _arguments(wish: Wish, folder: str, have: int) -> list[str]:
    # Never more than was listed, whatever the server sends.
    asked = ["--offset", str(have), "--count", str(wish.size - have)]
    limit = [] if wish.rate is None else ["--bwlimit", f"{wish.rate}B"]
    # The list names the object itself: its folder is not read for it.
    exact = ["--no-traverse", "--files-from0", "{list}", "--buffer-size", "4Mi"]
    return ["cat", *asked, *limit, *exact, f"{MAIN}:{folder}"]
