"""Tells cheaply whether the files of an artifact in the cache may have been changed since it was published. Blocking.

Models' code runs as the user whom the cache belongs to: it may give itself leave to write there, and no mode of a file
keeps it from that. What it cannot do is write without a trace: whatever changes a file's bytes, name, mode or links
sets the time of its change (`ctime`) to now, which no call sets to anything else. So a seal that is still the same says
that nothing has been written since; one that differs says that something was touched, and who finds that reads
everything again, which tells whether it matters.

What a seal cannot see: bytes that change below the file system, on the disk itself; who sets the clock of the machine
back, or writes to its disk, for which one has to be root; and a change within the same tick of the kernel's clock (4 ms
at most, none since Linux 6.13) in which the file had been changed before. Bytes written through a shared mapping set
the time when the page is written to first, and again whenever the kernel has written it to the disk in between: a
mapping that was written to before the seal was taken may go on for some seconds unseen. None can be there at
publishing, as nobody has had the files yet.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Final

from overbook.artifacts.walk import walk

_DIGEST_BYTES: Final = 16


def seal_of(folder: Path) -> str:
    """Hex; of the names, kinds, sizes, inodes and times of all that is below a folder.

    The folder itself does not count: publishing renames it, which is a change of it. Looks at every entry once, and
    reads no file. Raises ArtifactError where there is more than one artifact can have, OSError.
    """
    lines = []
    for name, entry in walk(folder):
        info = entry.stat(follow_symlinks=False)
        numbers = (
            *(stat.S_IFMT(info.st_mode), info.st_size, info.st_ino),
            *(info.st_mtime_ns, info.st_ctime_ns),
        )
        lines.append(f"{name}\0{numbers}\n".encode(errors="surrogateescape"))
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for line in sorted(lines):
        digest.update(line)
    return digest.hexdigest()
