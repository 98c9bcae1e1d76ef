"""Whether a file that came is the one that was listed. Blocking."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path
from typing import Final

from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.rclone.listing import md5_of, time_of
from overbook.artifacts.sources.rclone.mismatch import Mismatch

_CHUNK: Final = 1 << 20
# Stores keep times less exactly than disks do.
_SECOND: Final = 1.0


def checked(path: Path, file: RemoteFile) -> str:
    """The SHA-256 of a file that is as it was listed. Raises Mismatch, OSError."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    wanted, time, size = md5_of(file), time_of(file), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as opened:
        changed = os.fstat(descriptor).st_mtime
        while data := opened.read(_CHUNK):
            sha256.update(data)
            size += len(data)
            if wanted:
                md5.update(data)
    if size != file.size:
        raise Mismatch(file.name, f"it has {size} bytes, not {file.size}")
    if wanted and md5.hexdigest() != wanted:
        raise Mismatch(file.name, f"its MD5 is {md5.hexdigest()}, not {wanted}")
    if time and abs(_seconds(time) - changed) > _SECOND:
        raise Mismatch(file.name, "it was written after it was listed")
    return sha256.hexdigest()


def _seconds(time: str) -> float:
    # Python takes no more than six digits of a second.
    plain = time.replace("Z", "+00:00")
    head, dot, rest = plain.partition(".")
    if dot:
        digits = len(rest) - len(rest.lstrip("0123456789"))
        plain = f"{head}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"
    return datetime.fromisoformat(plain).timestamp()
