"""The files of the audit log: lines appended, in two families, each rotated by size. Blocking; for one thread.

What strangers were refused has files of its own: however often they knock, they push out no record of a change.
Changes are on the disk (fsync) when `append` returns; a refusal may be lost with the machine.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Final

from overbook.scheduler.audit import entries
from overbook.scheduler.audit.entries import Entry

_MIB: Final = 1024 * 1024
_TAIL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sizes:
    """``changes``, ``refusals``: bytes of each file; ``kept``: how many earlier ones stay beside the one that grows."""

    changes: int = 8 * _MIB
    refusals: int = 2 * _MIB
    kept: int = 7


class NotWritten(Exception):
    """So many lines were not. The message is the reason, in words."""

    def __init__(self, count: int, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.count = count


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries: those that ``fits``, which is asked only of lines that have ``mark`` in them."""

    fits: Callable[[Entry], bool] = lambda entry: True
    mark: bytes = b""


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked for, as far as there is some. ``last``: after which number there may be more."""

    entries: tuple[Entry, ...]
    last: int


class _Family:
    """A file that grows, and those before it, with `.1`, `.2` and so on at their ends."""

    def __init__(self, path: Path, most: int, kept: int, *, durable: bool) -> None:
        self._path = path
        self._most = most
        self._kept = kept
        self._durable = durable

    def append(self, lines: Sequence[bytes]) -> None:
        """Raises NotWritten."""
        left = len(lines)
        try:
            for piece in _pieces(lines, self._most // 2):
                self._append(b"".join(piece))
                left -= len(piece)
        except OSError as error:
            raise NotWritten(left, error) from error

    def _append(self, data: bytes) -> None:
        """All of it or nothing. Raises OSError."""
        file = self._open()
        try:
            size = os.fstat(file).st_size
            if size and size + len(data) > self._most:
                os.close(file)
                file = -1
                self._shift()
                file, size = self._open(), 0
            try:
                _write(file, data)
                if self._durable:
                    os.fsync(file)
            except OSError:
                # Half a line would spoil the next one. On a full disk there is always room for less.
                os.ftruncate(file, size)
                raise
        finally:
            if file >= 0:
                os.close(file)

    def files(self) -> list[Path]:
        """Those that there are, the oldest first."""
        found = [self._earlier(each) for each in range(self._kept, 0, -1)]
        return [each for each in (*found, self._path) if each.exists()]

    def last(self) -> int:
        """The highest number in it, 0 for none. What a crash has left of a line is taken away. Raises OSError."""
        if self._path.exists():
            _mend(self._path)
        for path in reversed(self.files()):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL))
                numbers = map(entries.number_of, file.readlines())
                if found := max((each for each in numbers if each is not None), default=0):
                    return found
        return 0

    def lines(self, after: int) -> Iterator[tuple[int, bytes]]:
        """Lines with larger numbers, in order. Raises OSError."""
        paths = self.files()
        begins = [_first(each) for each in paths]
        for index, path in enumerate(paths):
            if index + 1 < len(paths) and 0 < begins[index + 1] <= after + 1:
                continue
            with path.open("rb") as file:
                for line in file:
                    number = entries.number_of(line)
                    if number is not None and number > after:
                        yield number, line

    def _open(self) -> int:
        new = not self._path.exists()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if new and self._durable:
            _sync_folder(self._path.parent)
        return file

    def _shift(self) -> None:
        for number in range(self._kept, 0, -1):
            earlier = self._earlier(number - 1) if number > 1 else self._path
            if earlier.exists():
                earlier.replace(self._earlier(number))

    def _earlier(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class AuditFiles:
    """The folder, made when the first line is written."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder: Final = folder
        self._changes = _Family(folder / "changes.jsonl", sizes.changes, sizes.kept, durable=True)
        self._refusals = _Family(
            folder / "refusals.jsonl", sizes.refusals, sizes.kept, durable=False
        )
        self._next: int | None = None

    def append(self, made: Sequence[Entry], lost: int) -> None:
        """``lost``: entries before these that were not written. Raises NotWritten."""
        try:
            seq = self._number()
        except OSError as error:
            raise NotWritten(len(made), error) from error
        texts: tuple[list[bytes], list[bytes]] = [], []
        for offset, entry in enumerate(made):
            line = entries.written(entry, seq + offset, 0 if offset else lost)
            texts[entries.is_refusal(entry)].append(line)
        # Numbers of lines that are not written are used up as well: they say that something is missing.
        self._next = seq + len(made)
        failures: list[NotWritten] = []
        for family, lines in zip((self._changes, self._refusals), texts, strict=True):
            try:
                family.append(lines)
            except NotWritten as failure:
                failures.append(failure)
        if failures:
            failures[0].count = sum(each.count for each in failures)
            raise failures[0]

    def after(self, number: int, wanted: Wanted, most: int) -> Page:
        """The first ones with a larger number that fit, the oldest first. A number that there never was means: all.

        Raises OSError.
        """
        number = number if number < self._number() else 0
        found: list[Entry] = []
        for seq, line in self._read(number):
            number = seq
            if (entry := _fitting(line, wanted)) is not None:
                found.append(entry)
                if len(found) == most:
                    break
        return Page(tuple(found), number)

    def last(self, wanted: Wanted, most: int) -> Page:
        """The last ones that fit, the oldest first. Raises OSError."""
        last = self._number() - 1
        begin = max(0, last - most)
        found = self.after(begin, wanted, most).entries
        if len(found) < most and begin:
            # What does not fit lay between, or numbers that were lost.
            all_of_them = (_fitting(line, wanted) for _, line in self._read(0))
            fitting = (each for each in all_of_them if each is not None)
            found = tuple(deque(fitting, maxlen=most))
        return Page(found, last)

    def _read(self, number: int) -> Iterator[tuple[int, bytes]]:
        return merge(self._changes.lines(number), self._refusals.lines(number))

    def _number(self) -> int:
        """That of the next line. Raises OSError."""
        if self._next is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._next = max(self._changes.last(), self._refusals.last()) + 1
        return self._next


def _fitting(line: bytes, wanted: Wanted) -> Entry | None:
    entry = entries.read(line) if wanted.mark in line else None
    return entry if entry is not None and wanted.fits(entry) else None


def _pieces(lines: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """In order, each with as many lines as have so many bytes together, or one."""
    begin, size = 0, 0
    for index, line in enumerate(lines):
        if size and size + len(line) > most:
            yield lines[begin:index]
            begin, size = index, 0
        size += len(line)
    if size:
        yield lines[begin:]


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _first(path: Path) -> int:
    with path.open("rb") as file:
        return entries.number_of(file.readline()) or 0


def _mend(path: Path) -> None:
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            file.truncate(size - len(tail) + whole)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
