"""Remembers which content an address had, who wants which content, and what else a restart would have to ask for again.

A cache of knowledge: losing the last rows in a crash costs a copy, never a wrong answer. SQLite, one
connection, guarded by a lock because callers come from several threads; all rows are held in memory.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from overbook.artifacts.survey import Survey
from overbook.database import opened

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS places (
  place TEXT NOT NULL, fingerprint TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY (place, fingerprint)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
  digest TEXT PRIMARY KEY, bytes INTEGER NOT NULL, seal TEXT NOT NULL, seconds REAL, facts TEXT NOT NULL,
  last_used REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holders (
  digest TEXT NOT NULL, holder TEXT NOT NULL, PRIMARY KEY (digest, holder)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pins (place TEXT PRIMARY KEY, survey TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Content:
    """``seal``: see `seals`; "" before there was one. ``seconds``: that its fetch took, None when nobody knows.

    ``facts``: what an agent found out about it, in its own words. ``last_used``: Unix seconds.
    """

    digest: str
    bytes: int
    seal: str = ""
    seconds: float | None = None
    facts: str = ""
    last_used: float = 0.0


class Index:
    """``tell``: is told when the file is of no use."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._lock = threading.Lock()
        self._path = path
        self._tell = tell
        self._database = self._opened()
        read = self._database.execute
        self._places: dict[tuple[str, str], str] = {
            (place, mark): digest
            for place, mark, digest in read("SELECT place, fingerprint, digest FROM places")
        }
        self._contents = {
            row[0]: Content(*row)
            for row in read("SELECT digest, bytes, seal, seconds, facts, last_used FROM contents")
        }
        self._holders: dict[str, set[str]] = {}
        for digest, holder in read("SELECT digest, holder FROM holders"):
            self._holders.setdefault(digest, set()).add(holder)
        self._pins: dict[str, Survey] = {}
        for place, text in read("SELECT place, survey FROM pins"):
            if (survey := _survey(text)) is not None:
                self._pins[place] = survey

    # -- what was where

    def at(self, place: str, fingerprint: str) -> Content | None:
        """What was fetched from there under this fingerprint."""
        digest = self._places.get((place, fingerprint))
        return None if digest is None else self._contents.get(digest)

    def content(self, digest: str) -> Content | None:
        return self._contents.get(digest)

    @property
    def contents(self) -> Sequence[Content]:
        """All that anybody knows of, also what is not on the disk now."""
        with self._lock:
            return tuple(self._contents.values())

    def put(self, place: str, fingerprints: Iterable[str], content: Content) -> None:
        """This content is what the address has under each of these fingerprints.

        What an agent found out about it stays known, as it is the same content.
        """
        marks = tuple(fingerprints)
        with self._lock:
            if (known := self._contents.get(content.digest)) is not None:
                content = replace(
                    content,
                    facts=content.facts or known.facts,
                    last_used=max(content.last_used, known.last_used),
                )
            self._contents[content.digest] = content
            for mark in marks:
                self._places[place, mark] = content.digest
            self._write(
                ("INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, ?)", [_row(content)]),
                (
                    "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
                    [(place, mark, content.digest) for mark in marks],
                ),
            )

    def note(self, digest: str, *, facts: str) -> None:
        """What an agent found out about it, for after a restart."""
        with self._lock:
            known = self._contents.get(digest)
            if known is None or known.facts == facts:
                return
            self._contents[digest] = replace(known, facts=facts)
            self._write(("UPDATE contents SET facts = ? WHERE digest = ?", [(facts, digest)]))

    def seal(self, digest: str, seal: str) -> None:
        """It was read again, and is what it was when somebody last took its seal."""
        with self._lock:
            if (known := self._contents.get(digest)) is not None:
                self._contents[digest] = replace(known, seal=seal)
                self._write(("UPDATE contents SET seal = ? WHERE digest = ?", [(seal, digest)]))

    def used(self, times: Iterable[tuple[str, float]]) -> None:
        """When contents were used last; Unix seconds."""
        with self._lock:
            news = [
                (when, digest)
                for digest, when in times
                if (known := self._contents.get(digest)) is not None and known.last_used < when
            ]
            for when, digest in news:
                self._contents[digest] = replace(self._contents[digest], last_used=when)
            if news:
                self._write(("UPDATE contents SET last_used = ? WHERE digest = ?", news))

    # -- who wants it

    def hold(self, digest: str, holder: str) -> None:
        with self._lock:
            holders = self._holders.setdefault(digest, set())
            if holder not in holders:
                holders.add(holder)
                self._write(("INSERT OR REPLACE INTO holders VALUES (?, ?)", [(digest, holder)]))

    def let_go(self, holder: str, keep: Iterable[str]) -> None:
        """This holder wants nothing but these any more."""
        kept = set(keep)
        with self._lock:
            gone = [
                digest
                for digest, holders in self._holders.items()
                if holder in holders and digest not in kept
            ]
            for digest in gone:
                self._holders[digest].discard(holder)
                if not self._holders[digest]:
                    del self._holders[digest]
            if gone:
                self._write(
                    (
                        "DELETE FROM holders WHERE digest = ? AND holder = ?",
                        [(digest, holder) for digest in gone],
                    )
                )

    @property
    def holders(self) -> set[str]:
        """All that want anything."""
        with self._lock:
            return {holder for holders in self._holders.values() for holder in holders}

    def is_held(self, digest: str) -> bool:
        return digest in self._holders

    def held_by_others(self, holders: Set[str]) -> set[str]:
        """What somebody else than these wants."""
        with self._lock:
            return {digest for digest, each in self._holders.items() if not each <= holders}

    # -- what never changes at its source

    def pinned(self, place: str) -> Survey | None:
        """What there is at an address that names one content for all time, if somebody has looked."""
        return self._pins.get(place)

    def pin(self, place: str, survey: Survey) -> None:
        with self._lock:
            if self._pins.get(place) != survey:
                self._pins[place] = survey
                self._write(("INSERT OR REPLACE INTO pins VALUES (?, ?)", [(place, _text(survey))]))

    def forget(self, digests: Iterable[str]) -> None:
        """Drop every address of these contents, and all that is known of them."""
        gone = set(digests)
        with self._lock:
            keys = [key for key, digest in self._places.items() if digest in gone]
            for key in keys:
                del self._places[key]
            places = {place for place, _ in keys} - {place for place, _ in self._places}
            for place in places:
                self._pins.pop(place, None)
            for digest in gone:
                self._contents.pop(digest, None)
                self._holders.pop(digest, None)
            self._write(
                ("DELETE FROM places WHERE place = ? AND fingerprint = ?", keys),
                ("DELETE FROM pins WHERE place = ?", [(place,) for place in places]),
                ("DELETE FROM contents WHERE digest = ?", [(digest,) for digest in gone]),
                ("DELETE FROM holders WHERE digest = ?", [(digest,) for digest in gone]),
            )

    def close(self) -> None:
        with self._lock:
            self._write()  # where the file is gone
            self._database.close()

    def _opened(self) -> sqlite3.Connection:
        probe = "SELECT count(*) FROM contents"
        return opened(self._path, _SCHEMA, probe=probe, tell=self._tell, threads=True)

    def _write(self, *statements: tuple[str, Iterable[tuple[object, ...]]]) -> None:
        """All or nothing. Without disk space for a row the next run does something once more, or finds a row that
        names a folder which is gone: this one need not fail for it.
        """
        if not self._path.exists():
            # Somebody removed it while we run: all rows, these included, go into another.
            self._database.close()
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = self._opened()
            statements = self._everything()
        try:
            self._database.execute("BEGIN")
            for statement, rows in statements:
                self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.OperationalError:
            with contextlib.suppress(sqlite3.Error):
                self._database.rollback()

    def _everything(self) -> tuple[tuple[str, Iterable[tuple[object, ...]]], ...]:
        return (
            (
                "INSERT OR REPLACE INTO contents VALUES (?, ?, ?, ?, ?, ?)",
                map(_row, self._contents.values()),
            ),
            (
                "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
                [(*key, each) for key, each in self._places.items()],
            ),
            (
                "INSERT OR REPLACE INTO holders VALUES (?, ?)",
                [(digest, each) for digest, found in self._holders.items() for each in found],
            ),
            (
                "INSERT OR REPLACE INTO pins VALUES (?, ?)",
                [(place, _text(survey)) for place, survey in self._pins.items()],
            ),
        )


def _row(content: Content) -> tuple[object, ...]:
    return (
        content.digest,
        content.bytes,
        content.seal,
        content.seconds,
        content.facts,
        content.last_used,
    )


def _text(survey: Survey) -> str:
    return json.dumps([survey.bytes, survey.fingerprint, survey.made_for, list(survey.callees)])


def _survey(text: str) -> Survey | None:
    """None when it cannot be read."""
    try:
        size, fingerprint, made_for, callees = json.loads(text)
        return Survey(int(size), str(fingerprint), str(made_for), tuple(map(str, callees)))
    except (ValueError, TypeError):
        return None
