"""Folders for Unix sockets, which nobody but this user may enter: whoever may connect is the file system's to say.

The path of a socket is short by the kernel's law, and gRPC reads it as part of an address. Where the folder that is
asked for is too long for that, or has characters that mean something there, a folder of the same use lies in the folder
for temporary files. Knows nothing of what listens there.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Final

# The kernel allows 107 bytes for the path of a Unix socket; the longest name that we put into a folder is 24.
_LONGEST: Final = 80
_PLAIN: Final = re.compile(r"[\w./+@-]+", re.ASCII)


class NotOurs(Exception):
    """What is in the folder's place belongs to somebody else. The message says what to do."""


def place(wanted: Path) -> Path:
    """Where the folder is that stands for this one: the same in every run of this user. Nothing is made."""
    text = str(wanted.absolute())
    if len(text.encode()) <= _LONGEST and _PLAIN.fullmatch(text):
        return Path(text)
    digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"overbook-{os.getuid()}-{digest}"


def made(folder: Path) -> Path:
    """The folder, there and private. Raises NotOurs, OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    # In a folder that everybody may write to, somebody may have put a link there to lead us elsewhere.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NotOurs(
            f"{folder} belongs to another user or is a link; set TMPDIR to a folder of your own"
        )
    folder.chmod(0o700)
    return folder
