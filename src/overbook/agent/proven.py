"""What has been loaded here, kept across restarts: of each model the content that was loaded last, and all contents
that could be loaded in this runtime.

One small SQLite file per server replica. Where it is lost, contents are tried once more, and an update that fails has
nothing to fall back on. No judgement may live here.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.kinds import ArtifactKind
from overbook.database import opened, tell_log

log = logging.getLogger(__name__)

# Contents kept, those written last: a bound on the file, far above what one replica holds.
_KEPT: Final = 50_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS good (model TEXT PRIMARY KEY, facts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS verified (content TEXT NOT NULL, runtime TEXT NOT NULL, UNIQUE (content, runtime));
"""
# What is written anew gets a higher rowid, so the lowest were written longest ago.
_TRIM: Final = (
    "DELETE FROM verified WHERE rowid <= "
    "(SELECT rowid FROM verified ORDER BY rowid DESC LIMIT 1 OFFSET ?)"
)


@dataclass(frozen=True, slots=True)
class GoodContent:
    """A model's content that was loaded: where it came from, its files' digest and bytes, and how it is loaded.

    ``generation``: of the spec that asked for it.
    """

    storage_uri: str
    fingerprint: str
    digest: str
    bytes: int
    kind: ArtifactKind
    requirements: tuple[str, ...]
    version: str
    generation: int
    parameters: tuple[tuple[str, str], ...] = ()


class Proven:
    """Of one server replica under one ``runtime`` (its name and the digest of its pinned packages).

    ``tell``: is told when the file is of no use.
    """

    def __init__(
        self, path: Path, runtime: str = "", tell: Callable[[str], None] = tell_log
    ) -> None:
        self._runtime = runtime
        self._db = opened(path, _SCHEMA, probe="SELECT count(*) FROM good", tell=tell)
        rows = self._db.execute("SELECT model, facts FROM good").fetchall()
        self._good = {
            str(model): found for model, facts in rows if (found := _content(facts)) is not None
        }
        contents = self._db.execute("SELECT content FROM verified WHERE runtime = ?", (runtime,))
        self._verified = {str(content) for (content,) in contents}

    def good(self, model: str) -> GoodContent | None:
        return self._good.get(model)

    def loaded(self, model: str, content: GoodContent) -> None:
        """It is what stands for the model until another has been loaded."""
        if self._good.get(model) != content:
            self._good[model] = content
            self._write("INSERT OR REPLACE INTO good VALUES (?, ?)", [(model, _facts(content))])

    def forget(self, model: str) -> None:
        if self._good.pop(model, None) is not None:
            self._write("DELETE FROM good WHERE model = ?", [(model,)])

    def is_verified(self, content: str) -> bool:
        """Whether this content was loaded in this runtime at some time."""
        return content in self._verified

    def verified(self, content: str) -> None:
        if content not in self._verified:
            self._verified.add(content)
            self._write("INSERT OR REPLACE INTO verified VALUES (?, ?)", [(content, self._runtime)])

    def close(self) -> None:
        """Nothing may be asked afterwards."""
        self._write(_TRIM, [(_KEPT,)])
        self._db.close()

    def _write(self, statement: str, rows: Iterable[tuple[str | int, ...]]) -> None:
        """A failure (a full disk) loses only what can be found out again."""
        try:
            with self._db:
                self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            log.warning("cannot keep what was loaded: %s", error)


def _facts(content: GoodContent) -> str:
    return json.dumps(
        {
            "source": [content.storage_uri, content.fingerprint],
            "files": [content.digest, content.bytes],
            "kind": [content.kind.word, content.kind.bytes],
            "requirements": content.requirements,
            "version": content.version,
            "generation": content.generation,
            "parameters": dict(content.parameters),
        }
    )


def _content(facts: str) -> GoodContent | None:
    """None when it cannot be read."""
    try:
        found = json.loads(facts)
        (uri, fingerprint), (digest, size), (word, known) = (
            found["source"],
            found["files"],
            found["kind"],
        )
        return GoodContent(
            storage_uri=str(uri),
            fingerprint=str(fingerprint),
            digest=str(digest),
            bytes=int(size),
            kind=ArtifactKind(str(word), int(known)),
            requirements=tuple(str(each) for each in found["requirements"]),
            version=str(found["version"]),
            generation=int(found["generation"]),
            # Not in files that were written before there were any.
            parameters=tuple(
                sorted(
                    (str(name), str(value)) for name, value in found.get("parameters", {}).items()
                )
            ),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
