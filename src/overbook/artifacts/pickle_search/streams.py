"""Reads what may be a pickle from its beginning on, wherever it comes from, and once more from there."""

from __future__ import annotations

from typing import Final

from overbook.artifacts.compressed import Readable
from overbook.artifacts.stopping import CheckStopped

# Bytes that are kept, so that one who has read no further can begin again.
HEAD: Final = 64 << 10
# Most files are told by their first bytes.
_FIRST: Final = 4 << 10
_CHUNK: Final = 64 << 10


class Budget:
    """How many bytes may be read of one file, however they are packed. ``check_stopped``: what it raises ends that."""

    def __init__(self, most: int, check_stopped: CheckStopped) -> None:
        self._left = most
        self._check_stopped = check_stopped

    def spend(self, count: int) -> None:
        """Raises TooMuch."""
        self._check_stopped()
        self._left -= count
        if self._left < 0:
            raise TooMuch


class TooMuch(Exception):
    """More would have to be read than may be, to tell what it is."""


class Stream:
    """Bytes one after the other. ``size``: of all of them, None where nobody knows. Raises TooMuch, and whatever
    reading raises.
    """

    def __init__(self, source: Readable, budget: Budget, size: int | None = None) -> None:
        self._source = source
        self._budget = budget
        self._size = size
        self._head = b""
        # What was taken from the source last, and how far it has been read.
        self._buffer = b""
        self._at = 0
        self._taken = 0

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self._at == len(self._buffer) and not self._fill()

    @property
    def position(self) -> int:
        """Bytes that have been read, unless it was begun again."""
        return self._taken - len(self._buffer) + self._at

    def head(self) -> bytes:
        """The first `HEAD` bytes, or a few more, wherever the reading is."""
        while len(self._head) < HEAD and self._fill():
            pass
        return self._head

    def read(self, count: int) -> bytes:
        """As many, or fewer at the end; memory is taken for all of them."""
        part = self._some(count)
        if len(part) == count:
            return part
        parts = [part]
        count -= len(part)
        while count > 0 and not self.ended:
            parts.append(self._some(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def line(self, most: int) -> bytes | None:
        """Up to the next line feed, which is read and not given, ``most`` bytes of it.

        Where none comes, all that is left but for its last byte, as unpicklers have it; None where nothing is left.
        """
        if self.ended:
            return None
        line = b""
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            # The last byte stays: it may be the end.
            line += self._some(len(self._buffer) - self._at - 1)[: most - len(line)]
            if not self._fill():
                self._at += 1
                return line
        line += self._some(end - self._at)[: most - len(line)]
        self._at += 1
        return line

    def skip(self, count: int) -> bool:
        """Whether there were as many."""
        if (
            self._size is not None
            and count > self._size - self._taken + len(self._buffer) - self._at
        ):
            return False
        while count > 0 and not self.ended:
            passed = min(count, len(self._buffer) - self._at)
            self._at += passed
            count -= passed
        return not count

    def rewind(self) -> None:
        """Begins again. Raises TooMuch where more was read than is kept."""
        if self._taken > len(self._head):
            raise TooMuch
        self._buffer, self._at = self._head, 0

    def _some(self, count: int) -> bytes:
        part = self._buffer[self._at : self._at + count]
        self._at += len(part)
        return part

    def _fill(self) -> bool:
        data = self._source.read(_CHUNK if self._taken else _FIRST)
        self._budget.spend(len(data))
        if len(self._head) < HEAD:
            self._head += data
        self._buffer, self._at = self._buffer[self._at :] + data, 0
        self._taken += len(data)
        return bool(data)
