"""A log file that other processes append to, kept below a size without their knowing, and read piece by piece.

The writers hold a descriptor that appends (O_APPEND), so what is at the head of the file can be moved elsewhere while
they write. They never wait for this process and do not end with it, as they would with a pipe. Where the file system
can take away whole blocks (ext4, XFS), nothing that is written meanwhile is lost; elsewhere the file is cut after a
copy, and what is written in those microseconds is gone. Knows nothing of what is in the lines.

A writer that prints as fast as it can must not fill the disk before somebody looks. So a thread looks, whatever the
event loop is busy with: seldom while little comes, and as often as it can while much does. Of a flood its end is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

MOST_BYTES: Final = 10 * 1024 * 1024
# Earlier files beside the one that is written, with `.1` and `.2` at their ends.
KEPT: Final = 2
# What one reading gives at most.
PIECE_BYTES: Final = 256 * 1024
# Between two looks: while little is written, and while much is. A model prints 500 MB in a second.
_LOOK_SECONDS: Final = 0.05
_FLOOD_SECONDS: Final = 0.002
# Of ``most``, in one look: much.
_FLOOD: Final = 1 / 16
_BLOCK: Final = 4096
_TRY_AGAIN_SECONDS: Final = 1.0
_COPY_BYTES: Final = 1024 * 1024
_COLLAPSE_RANGE: Final = 0x08

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of the log. ``next``: what to ask for after them. ``missed``: what lay between is not kept any more."""

    data: bytes
    next: str
    missed: bool = False


class BoundedLog:
    """One log. ``most``: bytes of each file; ``kept``: how many earlier ones stay. May be used from several threads.

    A position is `LIFE:BYTES`: bytes that were written since this object was made, and before. What another life is
    asked to go on from begins where that life began.
    """

    def __init__(self, path: Path, *, most: int = MOST_BYTES, kept: int = KEPT) -> None:
        self.path: Final = path
        self._most = most
        self._kept = kept
        self._life = secrets.token_hex(4)
        self._moved = 0  # bytes that are not in the file any more
        self._lock = threading.Lock()
        self._began = self._size()

    async def run(self) -> None:
        """Keep it below its size until cancelled."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        failed: asyncio.Future[None] = loop.create_future()

        def fail(error: Exception) -> None:
            if not failed.done():
                failed.set_exception(error)

        def keep() -> None:
            try:
                self._keep(stop)
            except Exception as error:
                with contextlib.suppress(RuntimeError):  # the loop is gone, and nobody waits
                    loop.call_soon_threadsafe(fail, error)

        # Of its own: those that the loop lends are few, and this one stays.
        threading.Thread(target=keep, name=f"bounds {self.path.name}", daemon=True).start()
        try:
            await failed
        finally:
            stop.set()

    def _keep(self, stop: threading.Event) -> None:
        told, before = "", 0
        pause = _LOOK_SECONDS
        while not stop.wait(pause):
            size = self._size()
            pause = _FLOOD_SECONDS if size - before > self._most * _FLOOD else _LOOK_SECONDS
            before = size
            if size <= self._most:
                continue
            try:
                self.trim()
                told = ""
            except OSError as error:
                if told != (told := str(error)):
                    _log.warning("cannot shorten %s: %s", self.path, error)
                pause = _TRY_AGAIN_SECONDS
            before = self._size()

    def trim(self) -> None:
        """Move what is in the file to an earlier one where it is too large. Blocking; raises OSError."""
        with self._lock:
            if self._size() <= self._most:
                return
            with self.path.open("rb+", buffering=0) as file:
                self._shift()
                state = os.fstat(file.fileno())
                whole = state.st_size // _BLOCK * _BLOCK
                with self._made(self._earlier(1), state.st_mode & 0o777) as earlier:
                    _copy(file, earlier, max(0, whole - self._most), whole)
                    if _collapse(file.fileno(), whole):
                        self._moved += whole
                        return
                    # All of it then, as a file can only be cut at its end; but nobody runs after a flood.
                    _copy(file, earlier, whole, whole + self._most)
                    end = os.fstat(file.fileno()).st_size
                    os.ftruncate(file.fileno(), 0)
                    self._moved += end

    def last(self, lines: int) -> Piece:
        """The last lines, or fewer where they are long. Blocking."""
        with self._lock:
            end = self._moved + self._size()
            data = self._bytes(max(self._oldest(), end - PIECE_BYTES), end)
        found = data.splitlines(keepends=True)
        return Piece(b"".join(found[-lines:]) if lines else b"", self._position(end))

    def after(self, position: str) -> Piece:
        """What was written after a position: whole lines, unless one is very long. Blocking."""
        with self._lock:
            end, oldest = self._moved + self._size(), self._oldest()
            asked = self._asked(position)
            begin = self._moved if asked > end else max(asked, oldest)
            data = self._bytes(begin, min(end, begin + PIECE_BYTES))
        # A line that is still being written comes when it is whole.
        if len(data) < PIECE_BYTES or b"\n" in data:
            data = data[: data.rfind(b"\n") + 1]
        return Piece(data, self._position(begin + len(data)), missed=asked < oldest)

    def _asked(self, position: str) -> int:
        life, _, count = position.partition(":")
        return int(count) if life == self._life and count.isdecimal() else self._began

    def _position(self, count: int) -> str:
        return f"{self._life}:{count}"

    def _bytes(self, begin: int, end: int) -> bytes:
        """What lies between two positions, in the file and the one before it."""
        parts = []
        moved = self._moved
        with contextlib.suppress(OSError):
            if begin < moved:
                with self._earlier(1).open("rb") as earlier:
                    earlier.seek(begin - self._oldest())
                    parts.append(earlier.read(min(end, moved) - begin))
            if end > moved:
                with self.path.open("rb") as file:
                    file.seek(max(begin, moved) - moved)
                    parts.append(file.read(end - max(begin, moved)))
        return b"".join(parts)

    def _oldest(self) -> int:
        """Where the file before this one begins; of those before that nothing is read."""
        try:
            return max(0, self._moved - self._earlier(1).stat().st_size) if self._moved else 0
        except OSError:
            return self._moved

    def _made(self, path: Path, mode: int) -> IO[bytes]:
        """An empty file, which nobody may read who may not read the log."""
        return open(path, "wb", opener=lambda name, flags: os.open(name, flags, mode))

    def _shift(self) -> None:
        for number in range(self._kept, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._earlier(number - 1).replace(self._earlier(number))

    def _earlier(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def _copy(file: IO[bytes], into: IO[bytes], begin: int, end: int) -> None:
    """Bytes from ``begin`` to ``end``, or for as long as there are more."""
    at = begin
    while piece := os.pread(file.fileno(), min(_COPY_BYTES, end - at), at):
        into.write(piece)
        at += len(piece)


def _collapse(descriptor: int, count: int) -> bool:
    """Take away the first ``count`` bytes, whole blocks, while others append. False: not on this file system."""
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if fallocate is None:
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(fallocate(descriptor, _COLLAPSE_RANGE, 0, count) == 0)
