"""Reads a small file whole, or not at all: bounded in bytes, and never waiting for what is no file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from overbook.agent.servers.formats.errors import FormatError


def read_whole(path: Path, most: int) -> bytes:
    """Its content, of at most ``most`` bytes. Raises FormatError for more and for what is no regular file, OSError."""
    # A pipe without a writer would be waited for, and a device never ends.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FormatError("it is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise FormatError(f"it has more than {most} bytes, expected at most as many")
    return content
