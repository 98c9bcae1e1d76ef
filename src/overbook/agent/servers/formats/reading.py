"""Opens files that may be no files, and reads small ones whole or not at all: bounded in bytes, and never waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from overbook.agent.servers.formats.errors import FormatError


def open_file(path: Path) -> BinaryIO:
    """A regular file for reading. Raises FormatError for anything else, OSError."""
    # A pipe without a writer would be waited for, and a device never ends.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError("it is no regular file")
    return open(descriptor, "rb")


def read_whole(path: Path, most: int) -> bytes:
    """Its content, of at most ``most`` bytes. Raises FormatError for more and for what is no regular file, OSError."""
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise FormatError(f"it has more than {most} bytes, expected at most as many")
    return content
