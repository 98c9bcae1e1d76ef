"""Brings one large file: rclone writes it from front to end, and it is digested while it comes.

What came in part stays, however rclone or this process ended: the next try begins behind it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.artifacts.sources.protocol import Progress, Received, RemoteFile
from overbook.artifacts.sources.rclone import places
from overbook.artifacts.sources.rclone.digester import digesting
from overbook.artifacts.sources.rclone.listing import md5_of
from overbook.artifacts.sources.rclone.mismatch import Mismatch
from overbook.artifacts.sources.rclone.program import Job, Program
from overbook.artifacts.sources.rclone.remotes import Remote
from overbook.artifacts.sources.rclone.sections import MAIN
from overbook.artifacts.sources.rclone.troubles import explained

# MD5 takes longer than to fetch the file from nearby. From so many bytes on it is left out where TLS, SSH or the same
# machine keeps bytes from being changed on their way.
_MD5_BELOW: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Wish:
    """One file of an artifact. ``size``: bytes, as listed. ``rate``: bytes per second, None for as fast as it goes."""

    remote: Remote
    file: RemoteFile
    size: int
    into: Path
    progress: Progress
    rate: int | None

    @property
    def md5(self) -> str:
        """That is to be compared; "" for none."""
        needed = self.size < _MD5_BELOW or self.remote.plain
        return md5_of(self.file) if needed else ""


async def bring_large(program: Program, wish: Wish) -> Received:
    """Raises SourceError, Mismatch, OSError. Cancelling leaves what came in part.

    That the object did not change meanwhile is only sure where its MD5 is compared: see `Wish.md5`.
    """
    part = places.partial_folder(wish.into) / wish.file.name
    part.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(part, flags, 0o600)
    try:
        sha256, *md5 = await _fill(program, wish, descriptor)
    finally:
        os.close(descriptor)
    if md5 and md5[0] != wish.md5:
        # Going on behind wrong bytes would never make them right.
        part.unlink()
        raise Mismatch(wish.file.name, f"its MD5 is {md5[0]}, not {wish.md5}")
    places.move(part, wish.into, wish.file.name)
    return Received(wish.file.name, wish.size, sha256)


async def _fill(program: Program, wish: Wish, descriptor: int) -> tuple[str, ...]:
    """SHA-256, and MD5 where that is to be compared."""
    if os.fstat(descriptor).st_size > wish.size:
        os.ftruncate(descriptor, 0)
    have = os.fstat(descriptor).st_size
    kinds = ("sha256", "md5") if wish.md5 else ("sha256",)
    outcome = None
    async with digesting(descriptor, wish.size, kinds, wish.progress) as ended:
        if have < wish.size:
            folder, _, name = wish.file.origin.rpartition("/")
            job = Job(
                _arguments(wish, folder, have),
                listed=f"{name}\0".encode(),
                output=descriptor,
                news=lambda: os.fstat(descriptor).st_size,
            )
            outcome = await program.run(wish.remote, job)
        found = await ended()
    if found:
        return found
    if outcome is not None and not outcome.well:
        raise explained(wish.remote, outcome)
    came = os.fstat(descriptor).st_size
    raise Mismatch(wish.file.name, f"{came} bytes came, not {wish.size}")


def _arguments(wish: Wish, folder: str, have: int) -> list[str]:
    # Never more than was listed, whatever the server sends.
    asked = ["--offset", str(have), "--count", str(wish.size - have)]
    limit = [] if wish.rate is None else ["--bwlimit", f"{wish.rate}B"]
    # The list names the object itself: its folder is not read for it.
    exact = ["--no-traverse", "--files-from0", "{list}", "--buffer-size", "4Mi"]
    return ["cat", *asked, *limit, *exact, f"{MAIN}:{folder}"]
