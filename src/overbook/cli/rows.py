"""Models and servers as rows of tables: which columns, and what stands in them. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from overbook.cli.fetching import disk_of, fetch_of, fetch_shown, on_disk, slowest, state_of
from overbook.cli.reading import (
    Condition,
    at,
    condition,
    latest,
    moment,
    name_of,
    number,
    replicas,
    text,
)
from overbook.cli.tables import Column
from overbook.cli.words import ago, size
from overbook.client.http import JsonObject
from overbook.manifests.quantities import parse_bytes

_COLOURS: Final = {
    "True": "green",
    "resident": "green",
    "ready": "green",
    "fetching": "cyan",
    "loading": "cyan",
    "starting": "cyan",
    "draining": "yellow",
    "unloading": "yellow",
    "stopping": "yellow",
    "disconnected": "yellow",
    "Unknown": "yellow",
    "False": "red",
    "failed": "red",
    "deleted": "red",
}


def colour_of(cell: str) -> str:
    """What is well is green, what needs somebody is red."""
    return _COLOURS.get(cell.partition(" ")[0], "")


# `spare`: what goes first where the terminal is too narrow for all.
MODEL_COLUMNS: Final = (
    Column("NAME"),
    Column("READY", colour=colour_of),
    Column("STATE", colour=colour_of),
    Column("SERVER", shrinks=True, spare=2),
    Column("MEMORY", right=True),
    Column("PINNED", spare=3),
    Column("USED", right=True, spare=1),
    Column("REASON", shrinks=True),
)
# These are what changes all the time: a watch does not print a model anew because of them.
_RESTLESS: Final = frozenset({"USED", "BUSY"})
_FETCHED: Final = re.compile(r"fetching (?:(\d+)%|\S+)")
_FETCH_TOLD: Final = re.compile(r"[\d.]+\w+ (?:of [\d.]+\w+|so far)[^;]*")
# Of a model that waits for its files, the figures of its fetch say more.
_PROGRESSING: Final = "ModelProgressing"
WIDE_MODEL_COLUMNS: Final = (
    *MODEL_COLUMNS[:-1],
    Column("DISK", spare=4),
    Column("BUSY", right=True, spare=5),
    Column("LOADS", right=True, spare=6),
    Column("EVICTED", right=True, spare=7),
    Column("DECLARED", right=True, spare=10),
    Column("MEASURED", right=True, spare=11),
    Column("PRIORITY", right=True, spare=9),
    Column("REQUIREMENTS", shrinks=True, spare=8),
    Column("LAST REASON", folds=True, below=True, wanted=40),
)
SERVER_COLUMNS: Final = (
    Column("NAME"),
    Column("STATE", colour=colour_of),
    Column("MODELS", right=True),
    Column("IN MEMORY", right=True, spare=1),
    Column("RESIDENT", right=True),
    Column("REGISTERED", right=True),
    Column("BUDGET", right=True),
    Column("PROCESS", right=True, spare=2),
)
WIDE_SERVER_COLUMNS: Final = (
    *SERVER_COLUMNS,
    Column("DISK", right=True, spare=3),
    Column("PID", right=True, spare=4),
    Column("REST", spare=5),
    Column("GRPC", spare=6),
    Column("REASON", folds=True, below=True, wanted=30),
)


def model_row(model: JsonObject, now: float) -> tuple[str, ...]:
    """One model in one line, however many replicas it has. `now` in Unix seconds."""
    parts = replicas(model)
    found = condition(model)
    return (
        name_of(model),
        found.status,
        _states(parts),
        _places(parts),
        _memory(model, parts),
        "yes" if pinned(model) else "no",
        ago(latest([part.get("lastUsed") for part in parts]), now),
        _reason(found, parts),
    )


def wide_model_row(model: JsonObject, last: JsonObject | None, now: float) -> tuple[str, ...]:
    """As `model_row`, with more columns. `last`: the latest event about it, where one is known."""
    *row, reason = model_row(model, now)
    parts = replicas(model)
    if not reason and last is not None:
        reason = f"{text(last.get('reason'))}: {' '.join(text(last.get('message')).split())}"
        reason += f", {ago(moment(last.get('time')), now)}"
    words = at(model, "spec", "requirements")
    return (
        *row,
        on_disk(parts),
        str(total(parts, "inFlight")),
        str(total(parts, "loads")),
        str(total(parts, "evictions")),
        size(largest(parts, "declared")),
        size(largest(parts, "measured")),
        str(number(at(model, "spec", "priority")) or 0),
        ",".join(map(text, words)) if isinstance(words, list) and words else "-",
        reason or "-",
    )


def steady(columns: Sequence[Column], row: Sequence[str]) -> tuple[str, ...]:
    """What a row says apart from what changes by itself all the time."""
    kept = zip(columns, row, strict=True)
    return tuple(_steady(column, cell) for column, cell in kept if column.title not in _RESTLESS)


def _steady(column: Column, cell: str) -> str:
    """Without how long ago it was, and of a fetch by quarters."""
    if column.title in ("REASON", "LAST REASON") and _FETCH_TOLD.match(cell):
        return _FETCH_TOLD.sub("", cell, count=1)
    if column.title == "LAST REASON":
        return cell.rpartition(", ")[0]
    if column.title == "STATE":
        return _FETCHED.sub(lambda found: f"fetching {int(found[1] or 0) // 25}", cell)
    return cell


def pinned(model: JsonObject) -> bool:
    return at(model, "spec", "pinned") is True


def total(parts: Sequence[JsonObject], name: str) -> int:
    """The sum over all replicas."""
    return sum(number(part.get(name)) or 0 for part in parts)


def largest(parts: Sequence[JsonObject], name: str) -> int | None:
    """The largest of these bytes among all replicas, None where none is known."""
    known = [found for part in parts if (found := number(at(part, "bytes", name))) is not None]
    return max(known, default=None)


def _reason(found: Condition, parts: Sequence[JsonObject]) -> str:
    """What is wrong needs words, and so does what is waited for; that all is well is said by READY already."""
    fetch = fetch_shown(parts)
    said = "" if found.reason == _PROGRESSING and fetch is not None else _why(found, parts)
    return "; ".join(each for each in ("" if fetch is None else fetch.told, said) if each)


def _why(found: Condition, parts: Sequence[JsonObject]) -> str:
    if found.ready:
        doubts = [each for part in parts if (each := text(part.get("unverified")))]
        reason = f"unverified: {doubts[0]}" if doubts else ""
    else:
        reason = ": ".join(each for each in (found.reason, found.message) if each)
    return " ".join(reason.split())


def server_rows(server: JsonObject) -> list[tuple[str, ...]]:
    """One row for each replica of a server; one that says so when it has none yet."""
    name = name_of(server)
    parts = replicas(server)
    if not parts:
        return [(name, "no replicas", "-", "-", "-", "-", "-", "-")]
    return [_server_row(name, part) for part in parts]


def wide_server_rows(server: JsonObject) -> list[tuple[str, ...]]:
    """As `server_rows`, with more columns; the reason stands in the first row, as it is the server's."""
    found = condition(server, "Ready")
    said = ": ".join(each for each in (found.reason, found.message) if each)
    parts = replicas(server) or ({},)
    return [
        (
            *row,
            disk_of(part),
            _count(part.get("pid")),
            text(at(part, "address", "rest")) or "-",
            text(at(part, "address", "grpc")) or "-",
            (" ".join(said.split()) if not index else "") or "-",
        )
        for index, (row, part) in enumerate(zip(server_rows(server), parts, strict=True))
    ]


def memory_bytes(part: JsonObject) -> int | None:
    """What a model takes in one replica: what it is charged while it is in memory, else as measured or declared.

    None when nothing is known. A model that took too little to be measured is charged something all the same.
    """
    for name in ("charged", "measured", "declared"):
        if found := number(at(part, "bytes", name)):
            return found
    return None


def replica_name(part: JsonObject) -> str:
    """`mlserver/0`, from a replica of a model."""
    return f"{text(part.get('server'))}/{_count(part.get('replica'))}"


def _server_row(name: str, part: JsonObject) -> tuple[str, ...]:
    return (
        f"{name}/{_count(part.get('replica'))}",
        text(part.get("state")) or "unknown",
        _count(at(part, "models", "registered")),
        _count(at(part, "models", "resident")),
        size(number(at(part, "bytes", "resident"))),
        size(number(at(part, "bytes", "registered"))),
        size(number(at(part, "bytes", "budget"))),
        size(number(at(part, "bytes", "process"))),
    )


def _count(value: object) -> str:
    return str(value) if isinstance(value, int) else "-"


def _states(parts: tuple[JsonObject, ...]) -> str:
    """`resident`, or where replicas differ `1 resident, 2 cold`; of several fetches, how far the last one is."""
    if not parts:
        return "-"
    told = [state_of(part) for part in parts]
    if len(told) == 1:
        return told[0]
    states = Counter(each.partition(" ")[0] for each in told)
    fetching = [fetch for part in parts if (fetch := fetch_of(part)) is not None]
    last = slowest(fetching)
    return ", ".join(
        f"{count} {state} {last.short}"
        if state == "fetching" and last is not None
        else f"{count} {state}"
        for state, count in states.most_common()
    )


def _places(parts: tuple[JsonObject, ...]) -> str:
    """`mlserver/0,1`: each server with its replicas."""
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(text(part.get("server")), []).append(_count(part.get("replica")))
    return " ".join(f"{server}/{','.join(each)}" for server, each in found.items()) or "-"


def _memory(model: JsonObject, parts: tuple[JsonObject, ...]) -> str:
    known = [found for part in parts if (found := memory_bytes(part)) is not None]
    if known:
        return size(max(known))
    declared = at(model, "spec", "memory")
    return size(parse_bytes(declared)) if isinstance(declared, str | int | float) else "-"
