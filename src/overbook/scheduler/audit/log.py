"""The audit log: takes what happened, has it written by one thread, and reads it back.

Nobody waits for it for longer than `PATIENCE`, and nothing fails for its sake: what cannot be written is counted, told
in the log, in an event and in a metric, and in the next line that can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from overbook.metrics import AUDIT_ENTRIES, AUDIT_LOST
from overbook.scheduler.audit.entries import Entry
from overbook.scheduler.audit.files import AuditFiles, NotWritten, Page, Sizes, Wanted
from overbook.scheduler.errors import StoreError, TooMany

_LOG: Final = logging.getLogger(__name__)

# Seconds that an answer waits until its entries are on the disk.
PATIENCE: Final = 2.0
# Entries that wait to be written, where the disk stands still.
_MOST_WAITING: Final = 100_000
MOST_READERS: Final = 16


class AuditLog:
    """``trouble``: told, in words, when entries begin to be lost."""

    def __init__(
        self, folder: Path, trouble: Callable[[str], None], sizes: Sizes | None = None
    ) -> None:
        self._files = AuditFiles(folder, sizes or Sizes())
        self._trouble = trouble
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="overbook-audit")
        self._waiting: list[Entry] = []
        self._written: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._more = asyncio.Event()
        self._readers = 0
        self._waits = True
        self._ends = False
        self._lost = 0

    async def record(self, entries: Sequence[Entry]) -> None:
        """Returns when they are on the disk, or lost, or after `PATIENCE`."""
        if self._took(entries) and self._written is not None:
            await asyncio.wait((self._written,), timeout=PATIENCE)

    def put(self, entries: Sequence[Entry]) -> None:
        """As `record`, but nobody waits."""
        self._took(entries)

    def _took(self, entries: Sequence[Entry]) -> bool:
        """Whether they will be written, as far as that is known; else they are lost."""
        if len(self._waiting) + len(entries) > _MOST_WAITING:
            self._lose(len(entries), "the disk takes too long")
            return False
        self._waiting += entries
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        self._wake.set()
        return True

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Writes for as long as the block runs, and what is left at its end."""
        work = asyncio.create_task(self._run(), name="scheduler-audit")
        try:
            yield
        finally:
            self._ends = True
            self._wake.set()
            _, late = await asyncio.wait((work,), timeout=PATIENCE)
            if late:
                work.cancel()
            self._thread.shutdown(wait=not late)

    async def after(self, number: int, wanted: Wanted, most: int, wait: float) -> Page:
        """The first entries with a larger number that fit; waits up to ``wait`` seconds for one.

        Raises StoreError, and TooMany when that is one more than may wait.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            more = self._more
            page = await self._in_thread(partial(self._files.after, number, wanted, most))
            number = page.last
            left = deadline - loop.time()
            if page.entries or left <= 0 or not self._waits:
                return page
            if self._readers >= MOST_READERS:
                raise TooMany(
                    f"{MOST_READERS} others wait for entries already; try again when one of them has ended, or ask "
                    "without `wait`"
                )
            self._readers += 1
            try:
                async with asyncio.timeout(left):
                    await more.wait()
            except TimeoutError:
                return page
            finally:
                self._readers -= 1

    async def last(self, wanted: Wanted, most: int) -> Page:
        """The last entries that fit, the oldest first. Raises StoreError."""
        return await self._in_thread(partial(self._files.last, wanted, most))

    def stop_waiting(self) -> None:
        """From now on `after` answers at once: the scheduler is about to stop."""
        self._waits = False
        self._more.set()

    async def _in_thread(self, read: Callable[[], Page]) -> Page:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, read)
        except OSError as error:
            raise StoreError(
                f"{self._files.folder}: cannot be read: {error.strerror or error}"
            ) from error

    async def _run(self) -> None:
        while not self._ends or self._waiting:
            await self._wake.wait()
            self._wake.clear()
            await self._write()

    async def _write(self) -> None:
        entries, self._waiting = self._waiting, []
        done, self._written = self._written, None
        if not entries:
            return
        # More may be lost while these are written: the next ones tell of it.
        told = self._lost
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._thread, self._files.append, entries, told
            )
        except NotWritten as failure:
            AUDIT_ENTRIES.inc(len(entries) - failure.count)
            self._lose(failure.count, str(failure))
        except Exception as error:
            _LOG.error("entries of the audit log were lost", exc_info=error)
            self._lose(len(entries), repr(error))
        else:
            AUDIT_ENTRIES.inc(len(entries))
            if told:
                _LOG.warning("the audit log is written again; %d entries were lost meanwhile", told)
            self._lost -= told
        if done is not None:
            done.set_result(None)
        self._more.set()
        self._more = asyncio.Event()

    def _lose(self, count: int, why: str) -> None:
        AUDIT_LOST.inc(count)
        if not self._lost:
            text = (
                f"the audit log cannot be written: {why} ({self._files.folder}); calls are answered all the same, and "
                "what they change is not recorded until that is put right"
            )
            _LOG.error("%s", text)
            self._trouble(text)
        self._lost += count
