"""What eviction goes by, kept across restarts: how long contents take to load, and when models were used last.

Written in batches, some seconds apart and at a clean stop: what a crash loses is a few seconds of order. It lives in
the file of `store`. No judgement may live here.
"""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.database import opened, tell_log

log = logging.getLogger(__name__)

# Rows kept of each kind, those written last: a bound on the file, far above what one replica holds.
_KEPT: Final = 20_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS load_times (
  digest TEXT NOT NULL, runtime TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (digest, runtime)
);
CREATE TABLE IF NOT EXISTS uses (model TEXT PRIMARY KEY, at REAL NOT NULL);
"""
# What is replaced gets a new, higher rowid, so the lowest were written longest ago.
_TRIM: Final = (
    "DELETE FROM load_times WHERE rowid <= "
    "(SELECT rowid FROM load_times ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
    "DELETE FROM uses WHERE rowid <= (SELECT rowid FROM uses ORDER BY rowid DESC LIMIT 1 OFFSET ?)",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One model: its content, the running estimate of its load in seconds, its last use in Unix time; None: neither."""

    model: str
    digest: str
    load_seconds: float | None
    last_used: float | None


class History:
    """Of one server replica under one ``runtime``. ``tell``: is told when the file is of no use."""

    def __init__(
        self, path: Path, runtime: str = "", tell: Callable[[str], None] = tell_log
    ) -> None:
        self._runtime = runtime
        self._db = opened(path, _SCHEMA, probe="SELECT count(*) FROM uses", tell=tell)
        rows = self._db.execute(
            "SELECT digest, seconds FROM load_times WHERE runtime = ?", (runtime,)
        )
        self._seconds = {str(digest): seconds for digest, seconds in rows if _is_number(seconds)}
        uses = self._db.execute("SELECT model, at FROM uses")
        self._uses = {str(model): at for model, at in uses if _is_number(at)}

    def load_seconds(self, digest: str) -> float | None:
        """What a load of this content is expected to take; None when none was seen."""
        return self._seconds.get(digest)

    def last_used(self, model: str) -> float | None:
        """Unix time; None when it was not used yet."""
        return self._uses.get(model)

    def note(self, seen: Iterable[Seen]) -> None:
        """Keep what is new of these; a failure (a full disk) loses only what will be seen again."""
        seconds: dict[str, float] = {}
        uses: dict[str, float] = {}
        for each in seen:
            took, used = each.load_seconds, each.last_used
            if each.digest and took is not None and took != self._seconds.get(each.digest):
                seconds[each.digest] = took
            # Two clocks are compared to get it, so the same moment is never quite the same number.
            if used is not None and used > self._uses.get(each.model, 0.0) + 0.5:
                uses[each.model] = used
        if not seconds and not uses:
            return
        self._seconds |= seconds
        self._uses |= uses
        self._write(seconds, uses)

    def _write(self, seconds: dict[str, float], uses: dict[str, float]) -> None:
        db = self._db
        times = [(digest, self._runtime, took) for digest, took in seconds.items()]
        try:
            with db:
                db.execute("BEGIN")
                db.executemany("INSERT OR REPLACE INTO load_times VALUES (?, ?, ?)", times)
                db.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?)", uses.items())
                for statement in _TRIM:
                    db.execute(statement, (_KEPT,))
        except sqlite3.Error as error:
            log.warning("cannot keep when models were used: %s", error)

    def close(self) -> None:
        self._db.close()


def _is_number(found: object) -> bool:
    return isinstance(found, float) and math.isfinite(found)
