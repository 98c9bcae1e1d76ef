"""Reads a file while another process writes it: a digest is there when the last byte is. Blocking; a thread each.

The kernel is asked to write out what came, so that making it durable at the end takes no time.

It is a program as well, which `digester` runs: so that this work is last in line for the processor, as rclone is, and
costs requests to hot models as little as can be. Standard library only, and nothing of ours.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

_CHUNK: Final = 1 << 20
_WRITE_OUT: Final = 16 << 20
_NAP_S: Final = 0.02
_START_WRITING: Final = 2  # SYNC_FILE_RANGE_WRITE
_DIES_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG
_LAST_IN_LINE: Final = 19
# Bytes between two words to who waits.
_SAYS: Final = 4 << 20
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


class _Saying:
    """Tells bytes as they come, a line for some at a time."""

    def __init__(self) -> None:
        self._untold = 0

    def add(self, count: int) -> None:
        self._untold += count
        if self._untold >= _SAYS:
            self.say()

    def say(self) -> None:
        if self._untold:
            print(self._untold, flush=True)
            self._untold = 0


def main(parent: str, descriptor: str, size: str, *digests: str) -> None:
    """Digests the file of that descriptor until all bytes have come, or standard input ends, which says that there will
    be no more. Lines with a number tell how many bytes more have come; the last has all digests in hex, if all did.
    """
    _LIBRARY.prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != int(parent):
        return
    os.nice(_LAST_IN_LINE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    saying = _Saying()
    readers = [
        Arriving(os.dup(int(descriptor)), int(size), each, _unsaid if number else saying.add)
        for number, each in enumerate(digests)
    ]
    found: dict[int, str | None] = {}

    def follow(number: int) -> None:
        found[number] = readers[number].follow()

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(len(readers))]
    for each in threads:
        each.start()
    sys.stdin.buffer.read()
    for reader in readers:
        reader.no_more()
    for each in threads:
        each.join()
    saying.say()
    told = [found.get(number) or "" for number in range(len(readers))]
    if all(told):
        print("digests", *told, flush=True)


def _unsaid(_: int) -> None:
    """Bytes are told once, however many digests are made of them."""


if __name__ == "__main__":
    main(*sys.argv[1:])
