"""Opens the small SQLite files in which an agent keeps what it has learned.

All of it can be learned again, so no such file may ever keep an agent from serving: one that is damaged, or has tables
of another make than ours, is begun anew, and where there is none to be had (a full disk, a folder in its place) what is
learned lasts as long as the process.
What the files hold is their owners' matter.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_MODE: Final = 0o600
# Of 4 KiB each, after which the journal is written into the file; and how long it may stay then.
_JOURNAL_PAGES: Final = 64
_JOURNAL_BYTES: Final = 256 * 1024
# The file is as good as before once these are over.
_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
    }
)


def tell_log(trouble: str) -> None:
    """Tells nobody else."""
    log.warning("%s", trouble)


def opened(
    path: Path, schema: str, *, probe: str, tell: Callable[[str], None], threads: bool = False
) -> sqlite3.Connection:
    """A connection in which the schema's tables have the schema's columns, and the query ``probe`` works. Never fails.

    ``path``: may be SQLite's ``:memory:``;
    ``tell``: is told in one line what a person should know; ``threads``: whether several threads use it.
    """
    try:
        try:
            return _connected(str(path), schema, probe, threads)
        except _OtherTables as error:
            tell(f"{path} cannot be read ({error}); it is begun anew")
            # Others may have tables in the same file, and it open by now.
            return _connected(str(path), schema, probe, threads, anew=True)
    except (sqlite3.Error, OSError) as error:
        trouble: Exception = error
    if _damaged(trouble):
        tell(f"{path} cannot be read ({trouble}); it is begun anew")
        try:
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            return _connected(str(path), schema, probe, threads)
        except (sqlite3.Error, OSError) as error:
            trouble = error
    reason = "there is a folder in its place" if path.is_dir() else str(trouble)
    tell(
        f"{path} cannot be used ({reason}): what is learned is lost at the next start; mend it, and start again"
    )
    return _connected(":memory:", schema, probe, threads)


class _OtherTables(sqlite3.DatabaseError):
    """The file is of another version of Overbook, or nobody's of ours."""


def _damaged(error: Exception) -> bool:
    # The low byte is the kind; the others say where it happened.
    return (
        isinstance(error, sqlite3.Error)
        and getattr(error, "sqlite_errorcode", 0) & 0xFF not in _PASSING
    )


def _make_private(path: str) -> None:
    """For its user alone, as what SQLite puts beside it is then, too. Raises OSError where it cannot be made."""
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, _MODE))
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            os.chmod(path + suffix, _MODE)


def _connected(
    path: str, schema: str, probe: str, threads: bool, *, anew: bool = False
) -> sqlite3.Connection:
    """``anew``: what is in its tables goes."""
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _make_private(path)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=not threads)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        # Its journal takes no more of the disk than that.
        database.execute(f"PRAGMA wal_autocheckpoint={_JOURNAL_PAGES}")
        database.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        for table in _tables(schema) if anew else ():
            database.execute(f'DROP TABLE IF EXISTS "{table}"')
        database.executescript(schema)
        _require_columns(database, schema)
        database.execute(probe).fetchone()
    except sqlite3.Error:
        database.close()
        raise
    return database


def _require_columns(database: sqlite3.Connection, schema: str) -> None:
    """`CREATE TABLE IF NOT EXISTS` takes any table of that name. Raises _OtherTables."""
    with contextlib.closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(schema)
        for table in _tables(schema):
            expected, found = _columns(ours, table), _columns(database, table)
            if found != expected:
                raise _OtherTables(
                    f"its table {table} has the columns {_named(found)}, expected {_named(expected)}"
                )


def _tables(schema: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as ours:
        ours.executescript(schema)
        found = ours.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [name for (name,) in found]


def _columns(database: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    """Name, type, whether it may be missing, and the place in the key, of each in order."""
    return database.execute(
        'SELECT name, type, "notnull", pk FROM pragma_table_info(?) ORDER BY cid', (table,)
    ).fetchall()


def _named(columns: list[tuple[object, ...]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind, *_ in columns)
