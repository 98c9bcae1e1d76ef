"""Remembers which content an address had, so that a restart copies and hashes nothing again.

A cache of knowledge: losing the last rows in a crash costs a copy, never a wrong answer. SQLite, one
connection, guarded by a lock because callers come from several threads; all rows are held in memory.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from overbook.artifacts.digests import Digested
from overbook.database import opened

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS artifacts (
  uri TEXT NOT NULL, fingerprint TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (uri, fingerprint)) WITHOUT ROWID
"""


class Index:
    """(uri, fingerprint) to content. ``tell``: is told when the file is of no use."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._lock = threading.Lock()
        self._database = opened(
            path, _SCHEMA, probe="SELECT count(*) FROM artifacts", tell=tell, threads=True
        )
        rows = self._database.execute("SELECT uri, fingerprint, digest, bytes FROM artifacts")
        self._known = {(uri, mark): Digested(digest, size) for uri, mark, digest, size in rows}

    def get(self, uri: str, fingerprint: str) -> Digested | None:
        return self._known.get((uri, fingerprint))

    def put(self, uri: str, fingerprint: str, content: Digested) -> None:
        with self._lock:
            self._known[uri, fingerprint] = content
            # Without disk space for a row the next run copies once more; this one need not fail for it.
            with contextlib.suppress(sqlite3.OperationalError):
                self._database.execute(
                    "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?)",
                    (uri, fingerprint, content.digest, content.bytes),
                )

    def forget(self, digests: Iterable[str]) -> None:
        """Drop every address of these contents."""
        gone = set(digests)
        with self._lock:
            keys = [key for key, content in self._known.items() if content.digest in gone]
            for key in keys:
                del self._known[key]
            try:
                self._database.execute("BEGIN")
                self._database.executemany(
                    "DELETE FROM artifacts WHERE uri = ? AND fingerprint = ?", keys
                )
                self._database.execute("COMMIT")
            except sqlite3.OperationalError:
                # A row that stays for want of disk space names a folder that is gone: it counts for nothing.
                self._database.rollback()

    def close(self) -> None:
        with self._lock:
            self._database.close()
