"""Writes a part and digests it, in threads, while the next bytes are read: at most two chunks are in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from overbook.artifacts.errors import SourceError

CHUNK: Final = 1024 * 1024
# Seconds: on a slow line neither progress nor what a killed process leaves is to be far behind.
_HELD: Final = 0.5
_READ: Final = 1024 * 1024
# Bytes that one call to a thread reads: in between it may be cancelled.
_STEP: Final = 32 * 1024 * 1024


class PartWriter:
    """Appends to ``descriptor``, which it closes in the end, and to ``hasher``. ``written`` is told each chunk's bytes,
    in whatever thread.

    What came before a SourceError is written all the same: the next try goes on after it.
    """

    def __init__(
        self, descriptor: int, hasher: hashlib._Hash, written: Callable[[int], None]
    ) -> None:
        self._descriptor = descriptor
        self._hasher = hasher
        self._written = written
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._since = time.monotonic()
        self._writing: asyncio.Future[None] | None = None

    async def __aenter__(self) -> PartWriter:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None or isinstance(error, SourceError):
                await self._write()
                await self._wait()
        finally:
            if self._writing is not None:
                # The thread must not write into what has the same number by then.
                await asyncio.wait({self._writing})
            os.close(self._descriptor)

    async def add(self, chunk: bytes) -> None:
        """Raises OSError of this write or of the one before."""
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes >= CHUNK or time.monotonic() - self._since > _HELD:
            await self._write()

    async def _write(self) -> None:
        await self._wait()
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            self._since = time.monotonic()
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._append, held))

    async def _wait(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    def _append(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._hasher.update(chunk)
            self._written(len(chunk))


async def digest(path: Path, hasher: hashlib._Hash) -> int:
    """Feed a whole file to the hasher; how many bytes it has. Raises OSError."""
    done = 0
    while count := await asyncio.to_thread(_digest_some, path, hasher, done):
        done += count
    return done


def _digest_some(path: Path, hasher: hashlib._Hash, start: int) -> int:
    count = 0
    with open(path, "rb", buffering=0) as reader:
        reader.seek(start)
        while count < _STEP and (chunk := reader.read(_READ)):
            hasher.update(chunk)
            count += len(chunk)
    return count
