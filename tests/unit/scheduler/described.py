"""The control API's own description (OpenAPI), and in what an answer differs from it: a field, a type, a word."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from overbook.scheduler.actor import Actor
from overbook.scheduler.api import create_app
from overbook.scheduler.audit.log import AuditLog
from overbook.scheduler.known_tokens import KnownTokens
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.store import Store
from overbook.scheduler.surveyor import Surveyor
from overbook.scheduler.token_key import TokenKey
from overbook.scheduler.vault import Vault

# A piece of OpenAPI: JSON of whatever shape.
Schema: TypeAlias = Mapping[str, Any]

_REF: Final = "#/components/schemas/"
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
# What these tests understand. A word that is not among them would be one that nobody checks.
_CHECKED: Final = {
    *("type", "properties", "required", "additionalProperties", "items"),
    *("anyOf", "enum", "const", "format", "$ref"),
}
_SAID: Final = {"title", "description", "default"}


class Description:
    """What the API says of itself."""

    def __init__(self, api: Schema) -> None:
        self._schemas: Final[Mapping[str, Schema]] = api["components"]["schemas"]
        self.operations: Final[Mapping[tuple[str, str], Schema]] = {
            (method.upper(), path): operation
            for path, methods in api["paths"].items()
            for method, operation in methods.items()
        }

    @property
    def answers(self) -> set[tuple[str, str, int]]:
        """Method, path and status of every answer that is described."""
        return {
            (method, path, int(status))
            for (method, path), operation in self.operations.items()
            for status in operation["responses"]
        }

    def fields(self) -> Iterator[tuple[str, str, Schema]]:
        """Each field: the body, its name, and what is said of it."""
        for name, schema in self._schemas.items():
            for field, value in schema["properties"].items():
                yield name, field, value

    def knows(self, method: str, url: str) -> bool:
        """Whether there is such a call."""
        return bool(self._paths(method, url))

    def path(self, method: str, url: str) -> str:
        """The described path that a URL is one of."""
        (path,) = self._paths(method, url)
        return path

    def _paths(self, method: str, url: str) -> list[str]:
        steps = url.partition("?")[0].split("/")
        return [
            path
            for each_method, path in self.operations
            if each_method == method and _matches(path.split("/"), steps)
        ]

    def faults(self, method: str, url: str, status: int, kind: str, content: bytes) -> list[str]:
        """In what an answer is not as described. ``kind``: its media type."""
        operation = self.operations[method, self.path(method, url)]
        described = operation["responses"].get(str(status))
        if described is None:
            return [f"{status} is not described"]
        schema = described["content"].get(kind)
        if schema is None:
            return [f"{kind} is not described"]
        value = json.loads(content) if kind == "application/json" else content.decode()
        return list(self._faults(schema["schema"], value, "body"))

    def _faults(self, schema: Schema, value: object, where: str) -> Iterator[str]:
        unknown = schema.keys() - _CHECKED - _SAID
        assert not unknown, f"{where}: nobody checks {unknown}"
        if "$ref" in schema:
            yield from self._faults(self._schemas[schema["$ref"].removeprefix(_REF)], value, where)
        if "anyOf" in schema:
            found = [list(self._faults(each, value, where)) for each in schema["anyOf"]]
            if all(found):
                yield from found[0]
        if "type" in schema:
            wanted = _TYPES[schema["type"]]
            if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
                yield f"{where}: {value!r} is no {schema['type']}"
                return
        if value not in schema.get("enum", [schema.get("const", value)]):
            yield f"{where}: {value!r} is not described"
        if schema.get("format") == "date-time" and not _is_moment(value):
            yield f"{where}: {value!r} is no time"
        if isinstance(value, list) and "items" in schema:
            for index, each in enumerate(value):
                yield from self._faults(schema["items"], each, f"{where}[{index}]")
        if isinstance(value, dict) and schema.get("type") == "object":
            yield from self._faults_of_fields(schema, value, where)

    def _faults_of_fields(
        self, schema: Schema, value: dict[str, object], where: str
    ) -> Iterator[str]:
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", False)
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{where}.{name} is missing"
        for name, each in value.items():
            if name in properties:
                yield from self._faults(properties[name], each, f"{where}.{name}")
            elif isinstance(others, Mapping):
                yield from self._faults(others, each, f"{where}.{name}")
            elif not others:
                yield f"{where}.{name} is not described"


def _matches(described: list[str], steps: list[str]) -> bool:
    return len(described) == len(steps) and all(
        each == step or each.startswith("{") for each, step in zip(described, steps, strict=True)
    )


def _is_moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def idle_actor() -> Actor:
    """One that nobody runs: its store is empty, and lies in memory."""
    return Actor(
        Store(Path(":memory:")),
        Vault(Path("secrets.key")),
        KnownTokens(TokenKey(Path("tokens.key")), "", time.time),
        Defaults(),
        time.time,
    )


def idle_audit() -> AuditLog:
    """One that nobody runs, in a folder that is not made."""
    return AuditLog(Path("audit"), lambda text: None)


@cache
def description() -> Description:
    """That of the application, which nobody is asked for anything here: its store is empty, and lies in memory."""
    actor = idle_actor()
    return Description(
        create_app(actor, Surveyor(actor, None), lambda: None, idle_audit()).openapi()
    )
