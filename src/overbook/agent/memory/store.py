"""What was measured, kept across restarts: one small SQLite file per server replica.

Where it is lost, sizes are measured anew. No judgement may live here.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from overbook.agent.kinds import ArtifactKind
from overbook.agent.memory.estimates import Evidence
from overbook.agent.servers.protocol import Weight
from overbook.database import opened, tell_log

log = logging.getLogger(__name__)

# Contents kept, those seen last: a bound on the file, far above what one replica holds.
_KEPT: Final = 20_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS evidence (
  digest TEXT NOT NULL, runtime TEXT NOT NULL, facts TEXT NOT NULL, seen INTEGER NOT NULL,
  PRIMARY KEY (digest, runtime)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS evidence_by_age ON evidence (seen);
"""
_TRIM: Final = (
    "DELETE FROM evidence WHERE seen <= "
    "(SELECT seen FROM evidence ORDER BY seen DESC LIMIT 1 OFFSET ?)"
)


class SizeStore:
    """Evidence by content under one ``runtime`` (its name and the digest of its pinned packages).

    ``tell``: is told when the file is of no use.
    """

    def __init__(self, path: Path, runtime: str, tell: Callable[[str], None] = tell_log) -> None:
        self._runtime = runtime
        self._db = opened(path, _SCHEMA, probe="SELECT count(*) FROM evidence", tell=tell)
        (latest,) = self._db.execute("SELECT coalesce(max(seen), 0) FROM evidence").fetchone()
        self._seen = int(latest)

    def load(self) -> dict[str, Evidence]:
        """Everything known, by digest; what cannot be read is left out."""
        found: dict[str, Evidence] = {}
        rows = self._db.execute(
            "SELECT digest, facts FROM evidence WHERE runtime = ?", (self._runtime,)
        )
        for digest, facts in rows:
            try:
                found[digest] = _evidence(json.loads(facts))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def save(self, changed: Mapping[str, Evidence]) -> None:
        """Write these; a failure (a full disk) loses only what can be measured again."""
        rows = [
            (digest, self._runtime, json.dumps(_facts(evidence)), self._seen + number)
            for number, (digest, evidence) in enumerate(changed.items(), 1)
        ]
        self._seen += len(rows)
        try:
            with self._db:
                self._db.execute("BEGIN")
                self._db.executemany("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?)", rows)
                self._db.execute(_TRIM, (_KEPT,))
        except sqlite3.Error as error:
            log.warning("cannot keep measured sizes: %s", error)

    def forget(self, digest: str) -> None:
        """Under all runtimes; a failure leaves what will be measured again."""
        try:
            self._db.execute("DELETE FROM evidence WHERE digest = ?", (digest,))
        except sqlite3.Error as error:
            log.warning("cannot forget a measured size: %s", error)

    def close(self) -> None:
        self._db.close()


def _facts(evidence: Evidence) -> dict[str, object]:
    weight = evidence.weight
    return {
        "kind": [evidence.kind.word, evidence.kind.bytes],
        "weight": None if weight is None else [weight.kept, weight.peak, weight.asked],
        "loads": evidence.loads,
        "returns": evidence.returns,
        "uses": evidence.uses,
        "peak": evidence.peak,
        "requirement": evidence.requirement,
    }


def _evidence(facts: Mapping[str, object]) -> Evidence:
    loads, returns, uses = facts["loads"], facts["returns"], facts["uses"]
    if not (isinstance(loads, list) and isinstance(returns, list) and isinstance(uses, list)):
        raise TypeError("expected lists of samples")
    kind, weight = facts["kind"], facts["weight"]
    if not (isinstance(kind, list) and len(kind) == 2):
        raise TypeError("expected a kind of a word and a number")
    if weight is not None and not (isinstance(weight, list) and len(weight) == 3):
        raise TypeError("expected a weight of two numbers and whether it was asked")
    return Evidence(
        kind=ArtifactKind(str(kind[0]), int(kind[1])),
        weight=None if weight is None else Weight(int(weight[0]), int(weight[1]), bool(weight[2])),
        loads=tuple(int(each) for each in loads),
        returns=tuple(int(each) for each in returns),
        uses=tuple(int(each) for each in uses),
        peak=int(str(facts["peak"])),
        requirement=str(facts["requirement"]),
    )
