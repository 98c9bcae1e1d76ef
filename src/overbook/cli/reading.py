"""Fields out of the control API's JSON, as docs/api.md shows it, without surprises.

A field that is missing reads as empty, so that an older or newer Overbook can still be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from overbook.cli.terminal import safe
from overbook.client.http import Json, JsonObject


def at(value: Json, *path: str) -> Json:
    """The value at a path of keys, or None."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: Json) -> str:
    """A string without control characters: models and files have a say in what there is to read."""
    return safe(value) if isinstance(value, str) else ""


def number(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def objects(value: Json) -> tuple[JsonObject, ...]:
    return (
        tuple(each for each in value if isinstance(each, dict)) if isinstance(value, list) else ()
    )


def name_of(thing: JsonObject) -> str:
    return text(at(thing, "metadata", "name"))


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition people wait on. `status` is `True`, `False` or `Unknown`, as in Kubernetes."""

    status: str
    reason: str
    message: str
    since: str

    @property
    def ready(self) -> bool:
        return self.status == "True"


def condition(thing: JsonObject, kind: str = "ModelReady") -> Condition:
    """The condition of that type, Unknown when there is none."""
    for each in objects(at(thing, "status", "conditions")):
        if each.get("type") == kind:
            return Condition(
                text(each.get("status")) or "Unknown",
                text(each.get("reason")),
                text(each.get("message")),
                text(each.get("lastTransitionTime")),
            )
    return Condition("Unknown", "", "", "")


def replicas(thing: JsonObject) -> tuple[JsonObject, ...]:
    return objects(at(thing, "status", "replicas"))


def moment(value: Json) -> float | None:
    """Unix seconds of an RFC 3339 time, None when it is null or no time."""
    try:
        return datetime.fromisoformat(text(value)).timestamp()
    except ValueError:
        return None


def latest(values: Sequence[Json]) -> float | None:
    """The latest of several RFC 3339 times."""
    return max((found for each in values if (found := moment(each)) is not None), default=None)
