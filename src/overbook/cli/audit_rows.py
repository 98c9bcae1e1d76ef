"""Entries of the audit log as rows of a table. Pure, but for the time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from overbook.cli.reading import moment, number, text
from overbook.cli.tables import Column
from overbook.client.http import JsonObject

_COLOURS: Final = {"refused": "red", "failed": "red", "lost": "red", "unanswered": "yellow"}


def _colour(outcome: str) -> str:
    return _COLOURS.get(outcome.partition(" ")[0], "")


COLUMNS: Final = (
    Column("TIME"),
    Column("WHO", shrinks=True),
    Column("FROM", shrinks=True, spare=1),
    Column("WHAT", shrinks=True, wanted=24),
    Column("GEN", spare=2),
    Column("OUTCOME", colour=_colour),
)


def audit_rows(entry: JsonObject) -> Iterator[list[str]]:
    """One, and before it one more where entries are missing."""
    then = moment(entry.get("time"))
    time = "-" if then is None else datetime.fromtimestamp(then).strftime("%m-%d %H:%M:%S")
    if lost := number(entry.get("lost")):
        yield [time, "-", "-", f"{lost} entries could not be written", "-", "lost"]
    yield [
        time,
        _who(entry),
        text(entry.get("address")),
        _what(entry),
        _generation(entry),
        _outcome(entry),
    ]


def _who(entry: JsonObject) -> str:
    name = text(entry.get("token"))
    # In brackets, which no token's name has.
    return f"{name} ({text(entry.get('role'))})" if name else f"({text(entry.get('who'))})"


def _what(entry: JsonObject) -> str:
    verb, kind, name = (text(entry.get(each)) for each in ("verb", "kind", "name"))
    thing = f"{kind.lower()}/{name}" if name else kind.lower()
    unchanged = number(entry.get("unchanged"))
    if verb and not thing and unchanged:
        return f"{verb}, {unchanged} unchanged"
    if not verb or not (thing or unchanged is None):
        return text(entry.get("call"))
    return f"{verb} {thing}".strip()


def _generation(entry: JsonObject) -> str:
    before, after = number(entry.get("before")), number(entry.get("after"))
    if before == after:
        return "-" if before is None else str(before)
    return f"{'-' if before is None else before}→{'-' if after is None else after}"


def _outcome(entry: JsonObject) -> str:
    outcome, status = text(entry.get("outcome")), number(entry.get("status"))
    told = outcome in ("refused", "failed") and status is not None and status >= 300
    return f"{outcome} {status}" if told else outcome
