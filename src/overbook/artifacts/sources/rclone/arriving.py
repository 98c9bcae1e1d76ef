"""Reads a file while another process writes it: a digest is there when the last byte is. Blocking; a thread each.

The kernel is asked to write out what came, so that making it durable at the end takes no time.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable
from typing import Final

_CHUNK: Final = 1 << 20
_WRITE_OUT: Final = 16 << 20
_NAP_S: Final = 0.02
_START_WRITING: Final = 2  # SYNC_FILE_RANGE_WRITE
_LIBRARY: Final = ctypes.CDLL(None, use_errno=True)


class Arriving:
    """One digest of a file. ``descriptor``: of it, readable, closed at the end of `follow`. ``size``: bytes that it is
    to have. ``digest``: hashlib's name. ``seen``: is told bytes as they come.
    """

    def __init__(
        self, descriptor: int, size: int, digest: str, seen: Callable[[int], None]
    ) -> None:
        self.read = 0
        self._descriptor = descriptor
        self._size = size
        self._seen = seen
        self._digest = hashlib.new(digest, usedforsecurity=False)
        self._written_out = 0
        self._last = threading.Event()

    def no_more(self) -> None:
        """Nobody writes any more: what is there is all. From any thread."""
        self._last.set()

    def follow(self) -> str | None:
        """The digest in hex when all bytes are here; None when there will be no more. Raises OSError."""
        try:
            return self._follow()
        finally:
            os.close(self._descriptor)

    def _follow(self) -> str | None:
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
        return self._digest.hexdigest()

    def _take(self, data: memoryview) -> None:
        self._digest.update(data)
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
