"""Placeholder until the branch with the rules of hostile artifacts is merged."""

import hashlib
from pathlib import Path

from overbook.artifacts.walk import walk


def seal_of(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, entry in sorted(walk(folder)):
        i = entry.stat(follow_symlinks=False)
        digest.update(
            f"{name}\0{i.st_mode}\0{i.st_size}\0{i.st_ino}\0{i.st_mtime_ns}\0{i.st_ctime_ns}\n".encode()
        )
    return digest.hexdigest()
