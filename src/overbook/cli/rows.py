"""Models and servers as rows of tables: which columns, and what stands in them. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Final

from overbook.cli.reading import at, condition, latest, name_of, number, replicas, text
from overbook.cli.tables import Column
from overbook.cli.words import ago, size
from overbook.client.http import JsonObject

MODEL_COLUMNS: Final = (
    Column("NAME"),
    Column("READY"),
    Column("STATE"),
    Column("SERVER", shrinks=True),
    Column("MEMORY", right=True),
    Column("USED", right=True),
    Column("REASON", shrinks=True),
)
SERVER_COLUMNS: Final = (
    Column("NAME"),
    Column("STATE"),
    Column("MODELS", right=True),
    Column("IN MEMORY", right=True),
    Column("RESIDENT", right=True),
    Column("REGISTERED", right=True),
    Column("BUDGET", right=True),
    Column("PROCESS", right=True),
)


def model_row(model: JsonObject, now: float) -> tuple[str, ...]:
    """One model in one line, however many replicas it has. `now` in Unix seconds."""
    found = condition(model)
    parts = replicas(model)
    # What is wrong needs words; that all is well is said by READY already.
    reason = "" if found.ready else found.reason
    doubts = [each for part in parts if (each := text(part.get("unverified")))]
    if found.ready and doubts:
        reason = f"unverified: {doubts[0]}"
    if reason and not found.ready and found.message:
        reason = f"{reason}: {found.message}"
    return (
        name_of(model),
        found.status,
        _states(parts),
        _places(parts),
        _memory(model, parts),
        ago(latest([part.get("lastUsed") for part in parts]), now),
        " ".join(reason.split()),
    )


def server_rows(server: JsonObject) -> list[tuple[str, ...]]:
    """One row for each replica of a server; one that says so when it has none yet."""
    name = name_of(server)
    parts = replicas(server)
    if not parts:
        return [(name, "no replicas", "-", "-", "-", "-", "-", "-")]
    return [_server_row(name, part) for part in parts]


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
    """`resident`, or where replicas differ `1 resident, 2 cold`."""
    if not parts:
        return "-"
    if len(parts) == 1:
        return text(parts[0].get("state")) or "unknown"
    states = Counter(text(part.get("state")) or "unknown" for part in parts)
    return ", ".join(f"{count} {state}" for state, count in states.most_common())


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
    return str(declared) if isinstance(declared, str | int | float) else "-"
