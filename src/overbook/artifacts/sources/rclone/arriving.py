"""Reads a file while another process writes it: its digests are there when its last byte is. Blocking; in a thread.

The kernel is asked to write out what came, so that making it durable at the end takes no time.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_CHUNK: Final = 1 << 20
_WRITE_OUT: Final = 16 << 20
_NAP_S: Final = 0.02
_START_WRITING: Final = 2  # SYNC_FILE_RANGE_WRITE
_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Digests:
    """Hex. ``md5``: "" where nobody wanted it."""

    sha256: str
    md5: str


class Arriving:
    """``descriptor``: of the file, readable; closed at the end of `follow`. ``size``: bytes that it is to have.
    ``seen``: is told bytes as they come.
    """

    def __init__(
        self, descriptor: int, size: int, seen: Callable[[int], None], *, md5: bool
    ) -> None:
        self.read = 0
        self._descriptor = descriptor
        self._size = size
        self._seen = seen
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._written_out = 0
        self._last = threading.Event()

    def no_more(self) -> None:
        """Nobody writes any more: what is there is all. From any thread."""
        self._last.set()

    def follow(self) -> Digests | None:
        """Until all bytes are here, or there will be no more: None, then. Raises OSError."""
        try:
            return self._follow()
        finally:
            os.close(self._descriptor)

    def _follow(self) -> Digests | None:
        buffer = memoryview(bytearray(_CHUNK))
        while self.read < self._size:
            ended = self._last.is_set()
            count = os.preadv(
                self._descriptor, [buffer[: min(_CHUNK, self._size - self.read)]], self.read
            )
            if count:
                self._take(buffer[:count])
            elif ended:
                return None
            else:
                self._last.wait(_NAP_S)
        return Digests(self._sha256.hexdigest(), self._md5.hexdigest() if self._md5 else "")

    def _take(self, data: memoryview) -> None:
        self._sha256.update(data)
        if self._md5 is not None:
            self._md5.update(data)
        self.read += len(data)
        self._seen(len(data))
        if self.read - self._written_out >= _WRITE_OUT:
            # A hint: a file system that has no such thing writes when it likes.
            _LIBRARY.sync_file_range(
                ctypes.c_int(self._descriptor),
                ctypes.c_int64(self._written_out),
                ctypes.c_int64(self.read - self._written_out),
                ctypes.c_uint(_START_WRITING),
            )
            self._written_out = self.read
