"""The durable desired state: one SQLite file, one writer, committed before anything is acknowledged.

Rows in, rows out; what they mean is `state`'s business. Blocking: the actor calls it on a thread of its
own. The file is locked for as long as the store is open, so two schedulers cannot share it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from overbook.scheduler.errors import StoreError

SCHEMA_VERSION: Final = 7

_SECRETS: Final = """CREATE TABLE secrets (
        name TEXT PRIMARY KEY, sealed BLOB NOT NULL, updated REAL NOT NULL
    ) WITHOUT ROWID"""
_TOKENS: Final = """CREATE TABLE tokens (
        name TEXT PRIMARY KEY, digest BLOB NOT NULL, role TEXT NOT NULL, models TEXT NOT NULL,
        created REAL NOT NULL, expires REAL, used REAL NOT NULL
    ) WITHOUT ROWID"""
_TOKEN_RATE: Final = "ALTER TABLE tokens ADD COLUMN rate INTEGER"
_TOKEN_WAITING: Final = "ALTER TABLE tokens ADD COLUMN waiting INTEGER"
_SCHEMA: Final = (
    """CREATE TABLE servers (
        name TEXT PRIMARY KEY, api_version TEXT NOT NULL, generation INTEGER NOT NULL,
        metadata TEXT NOT NULL, spec TEXT NOT NULL, created REAL NOT NULL,
        memory INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE models (
        name TEXT PRIMARY KEY, api_version TEXT NOT NULL, generation INTEGER NOT NULL,
        content_generation INTEGER NOT NULL, metadata TEXT NOT NULL, spec TEXT NOT NULL,
        pin INTEGER, created REAL NOT NULL, deleting INTEGER NOT NULL, fingerprint TEXT NOT NULL,
        artifact_bytes INTEGER NOT NULL, learned_bytes INTEGER NOT NULL,
        made_for TEXT NOT NULL DEFAULT '', called TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID""",
    """CREATE TABLE seats (
        model TEXT NOT NULL, server TEXT NOT NULL, replica INTEGER NOT NULL, role INTEGER NOT NULL,
        PRIMARY KEY (model, server, replica)
    ) WITHOUT ROWID""",
    _SECRETS,
    _TOKENS,
    _TOKEN_RATE,
    _TOKEN_WAITING,
)
# What brings a file from one version to the next.
_UPGRADES: Final = {
    1: "ALTER TABLE models ADD COLUMN made_for TEXT NOT NULL DEFAULT ''",
    2: "ALTER TABLE models ADD COLUMN called TEXT NOT NULL DEFAULT ''",
    3: _SECRETS,
    4: _TOKENS,
    5: _TOKEN_RATE,
    6: _TOKEN_WAITING,
}


class ServerRow(NamedTuple):
    """``memory``: the budget in force, for when the spec leaves it to a default that is gone later."""

    name: str
    api_version: str
    generation: int
    metadata: str
    spec: str
    created: float
    memory: int


class ModelRow(NamedTuple):
    """``called``: names, a line each."""

    name: str
    api_version: str
    generation: int
    content_generation: int
    metadata: str
    spec: str
    pin: int | None
    created: float
    deleting: int
    fingerprint: str
    artifact_bytes: int
    learned_bytes: int
    made_for: str = ""
    called: str = ""


class SeatRow(NamedTuple):
    """A model on a server replica; ``role`` is `records.Role`'s number."""

    model: str
    server: str
    replica: int
    role: int


class SecretRow(NamedTuple):
    """``sealed``: see `vault`. ``updated``: Unix seconds."""

    name: str
    sealed: bytes
    updated: float


class TokenRow(NamedTuple):
    """``digest``: all that is kept of what makes it a token. ``models``: patterns, a line each. Times: Unix seconds."""

    name: str
    digest: bytes
    role: str
    models: str
    created: float
    expires: float | None
    used: float
    rate: int | None = None
    waiting: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction. ``seats`` are all the seats of all ``models``; those they had before go."""

    models: Sequence[ModelRow] = ()
    seats: Sequence[SeatRow] = ()
    servers: Sequence[ServerRow] = ()
    gone_models: Iterable[str] = ()
    gone_servers: Iterable[str] = ()
    secrets: Sequence[SecretRow] = ()
    gone_secrets: Iterable[str] = ()
    tokens: Sequence[TokenRow] = ()
    gone_tokens: Iterable[str] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is stored, models in the order of their registration."""

    servers: Sequence[ServerRow]
    models: Sequence[ModelRow]
    seats: Sequence[SeatRow]
    secrets: Sequence[SecretRow] = ()
    tokens: Sequence[TokenRow] = ()


class Store:
    """Opens (and creates) the file. Every method raises StoreError with one line when it cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=0.1, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._error("opened", error) from error
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("BEGIN IMMEDIATE")
            version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
            if version == 0:
                for statement in _SCHEMA:
                    self._db.execute(statement)
            elif version < SCHEMA_VERSION:
                for step in range(version, SCHEMA_VERSION):
                    self._db.execute(_UPGRADES[step])
            if version < SCHEMA_VERSION:
                self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._error("opened", error) from error
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"state store {self._path}: has version {version}, expected at most "
                f"{SCHEMA_VERSION}; it was written by a newer overbook: use that one"
            )

    def load(self) -> Snapshot:
        try:
            with closing(self._db.cursor()) as cursor:
                servers = [ServerRow(*row) for row in cursor.execute("SELECT * FROM servers")]
                models = [
                    ModelRow(*row)
                    for row in cursor.execute("SELECT * FROM models ORDER BY created")
                ]
                seats = [SeatRow(*row) for row in cursor.execute("SELECT * FROM seats")]
                secrets = [SecretRow(*row) for row in cursor.execute("SELECT * FROM secrets")]
                tokens = [TokenRow(*row) for row in cursor.execute("SELECT * FROM tokens")]
        except sqlite3.Error as error:
            raise self._error("read", error) from error
        return Snapshot(servers, models, seats, secrets, tokens)

    def commit(self, batch: Batch) -> None:
        """Writes all of it or, when it raises, nothing. On return it survives a power cut."""
        gone = [(name,) for name in batch.gone_models]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                touched = [*gone, *((row.name,) for row in batch.models)]
                self._many("DELETE FROM seats WHERE model=?", touched)
                self._many("DELETE FROM models WHERE name=?", gone)
                self._many(
                    "DELETE FROM servers WHERE name=?", [(name,) for name in batch.gone_servers]
                )
                self._many(
                    "DELETE FROM secrets WHERE name=?", [(name,) for name in batch.gone_secrets]
                )
                self._many(
                    "DELETE FROM tokens WHERE name=?", [(name,) for name in batch.gone_tokens]
                )
                self._many("REPLACE INTO secrets VALUES (?,?,?)", batch.secrets)
                self._many("REPLACE INTO tokens VALUES (?,?,?,?,?,?,?,?,?)", batch.tokens)
                self._many("REPLACE INTO servers VALUES (?,?,?,?,?,?,?)", batch.servers)
                self._many("REPLACE INTO models VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", batch.models)
                self._many("INSERT INTO seats VALUES (?,?,?,?)", batch.seats)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._error("written", error) from error

    def _many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        if rows:
            self._db.executemany(statement, rows)

    def close(self) -> None:
        self._db.close()

    def _error(self, action: str, error: Exception) -> StoreError:
        hint = (
            "another scheduler has it open: stop that one or choose another --state-dir"
            if "locked" in str(error)
            else "check the disk's space and the folder's permissions"
        )
        return StoreError(f"state store {self._path}: could not be {action} ({error}); {hint}")
