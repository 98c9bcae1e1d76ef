"""By what `get --sort` orders models and servers: numbers as numbers, names as names, what is not known last. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from overbook.cli.options import Kind
from overbook.cli.reading import at, condition, latest, name_of, number, replicas, text
from overbook.cli.rows import memory_bytes, pinned, replica_name, total
from overbook.client.http import Json, JsonObject

Value: TypeAlias = "str | float | None"
Key: TypeAlias = Callable[[JsonObject], Value]


def _sum(*path: str) -> Key:
    def key(thing: JsonObject) -> Value:
        known = [each for part in replicas(thing) if (each := number(at(part, *path))) is not None]
        return sum(known) if known else None

    return key


def _count(name: str) -> Key:
    return lambda model: total(replicas(model), name)


def _first_state(thing: JsonObject) -> Value:
    parts = replicas(thing)
    return text(parts[0].get("state")) if parts else None


def _memory(model: JsonObject) -> Value:
    known = [found for part in replicas(model) if (found := memory_bytes(part)) is not None]
    return max(known, default=None)


def _server(model: JsonObject) -> Value:
    parts = replicas(model)
    return replica_name(parts[0]) if parts else None


def _used(model: JsonObject) -> Value:
    used: list[Json] = [part.get("lastUsed") for part in replicas(model)]
    return latest(used)


_MODELS: Final[dict[str, Key]] = {
    "name": name_of,
    "ready": lambda model: condition(model).status,
    "state": _first_state,
    "server": _server,
    "memory": _memory,
    "bytes": _memory,
    "pinned": pinned,
    "priority": lambda model: number(at(model, "spec", "priority")) or 0,
    "used": _used,
    "last-used": _used,
    "busy": _count("inFlight"),
    "loads": _count("loads"),
    "evicted": _count("evictions"),
    "reason": lambda model: condition(model).reason,
}
_SERVERS: Final[dict[str, Key]] = {
    "name": name_of,
    "state": _first_state,
    "models": _sum("models", "registered"),
    "resident": _sum("bytes", "resident"),
    "registered": _sum("bytes", "registered"),
    "budget": _sum("bytes", "budget"),
    "process": _sum("bytes", "process"),
}
KEYS: Final[dict[Kind, dict[str, Key]]] = {"model": _MODELS, "server": _SERVERS}


def ordered(kind: Kind, found: Sequence[JsonObject], by: str, *, reverse: bool) -> list[JsonObject]:
    """In the order of one of the `KEYS`; among equals as they were. What is not known stands last either way."""
    key = KEYS[kind][by]
    known = [each for each in found if key(each) is not None]
    unknown = [each for each in found if key(each) is None]
    return sorted(known, key=lambda each: _comparable(key(each)), reverse=reverse) + unknown


def _comparable(value: Value) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value or 0.0, "")
