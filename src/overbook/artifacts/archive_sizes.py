"""Finds out how much archives unpack to before anything of them is written, and remembers it while they are the same.

Who waits for room asks at each try: an archive is gone through once all the same. What is done with the answer is
`arriving`'s.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from overbook.artifacts.archives import Bounds, unpacked_bytes
from overbook.artifacts.stopping import CheckStopped
from overbook.artifacts.walk import MAX_ENTRIES

# Archives that are remembered; of what is forgotten the next try costs more.
_KEPT: Final = 1000

# What tells a file from another in its place: inode, bytes, and when it was written (nanoseconds).
_Mark = tuple[int, int, int]


class ArchiveSizes:
    """For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[Path, _Mark], int] = {}

    def of(self, archives: Sequence[Path], most: int, check_stopped: CheckStopped) -> int:
        """Bytes of all of them together. Blocking. Raises TooManyBytes where these are more than ``most``, and as
        `unpacked_bytes`.
        """
        total = 0
        for each in archives:
            total += self._of(each, most - total, check_stopped)
        return total

    def _of(self, archive: Path, most: int, check_stopped: CheckStopped) -> int:
        info = archive.stat()
        key = (archive, (info.st_ino, info.st_size, info.st_mtime_ns))
        with self._lock:
            known = self._known.get(key)
        if known is not None and known <= most:
            return known
        found = unpacked_bytes(archive, Bounds(most, MAX_ENTRIES), check_stopped)
        with self._lock:
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[key] = found
        return found
