"""The tables of docs/api.md, made of what the control API says of itself (OpenAPI). `make docs` writes them.

With --check nothing is written, and the exit code says whether the page is as it should be.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
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

PAGE: Final = Path(__file__).parents[1] / "docs" / "api.md"
# What lies between these two lines is made here; the rest of the page is written by hand.
_BLOCK: Final = re.compile(r"(<!-- made by `make docs`: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_REF: Final = "#/components/schemas/"
_NULL: Final = {"type": "null"}
# Not a refusal, and those of any call, which the page tells of above the table.
_UNTOLD: Final = {"200", "201", "401", "403", "408", "413", "415", "421", "429"}

# A piece of OpenAPI: JSON of whatever shape.
Schema: TypeAlias = Mapping[str, Any]


def described() -> Schema:
    """The API's own description. Nobody is asked for anything: the store is empty, and lies in memory."""
    actor = Actor(
        Store(Path(":memory:")),
        Vault(Path("secrets.key")),
        KnownTokens(TokenKey(Path("tokens.key")), "", time.time),
        Defaults(),
        time.time,
    )
    audit = AuditLog(Path("audit"), lambda text: None)
    return create_app(actor, Surveyor(actor, None), lambda: None, audit).openapi()


def page(text: str, api: Schema) -> str:
    """The page with its blocks made anew."""
    tables = Tables(api)
    made = {
        "calls": tables.calls(),
        "parameters": tables.parameters(),
        "bodies": tables.bodies(),
    }
    return _BLOCK.sub(lambda block: f"{block[1]}\n{made[block[2]]}\n\n{block[3]}", text)


class Tables:
    """What the API says of itself, as tables. A body that only one other body has is told in that one's table."""

    def __init__(self, api: Schema) -> None:
        self._operations: Final = [
            (f"{method.upper()} {path}", operation)
            for path, methods in api["paths"].items()
            for method, operation in methods.items()
        ]
        self._schemas: Final[Mapping[str, Schema]] = api["components"]["schemas"]
        named = {each for _, operation in self._operations for each in _refs(operation)}
        self._extended: Final = {name: self._base(name, named) for name in self._schemas}
        users = Counter(
            each
            for name in self._schemas
            for _, value in self._own_fields(name)
            for each in set(_refs(value))
        )
        self._titled: Final = {name for name in self._schemas if name in named or users[name] > 1}

    def calls(self) -> str:
        """The table of all calls."""
        rows = []
        for call, operation in self._operations:
            answers = operation["responses"]
            refusals = ", ".join(code for code in sorted(answers) if code not in _UNTOLD)
            good = min(answers)
            body = self._content(operation.get("requestBody"))
            answer = self._content(answers[good])
            rows.append((f"`{call}`", _line(operation["description"]), body, answer, refusals))
        return _table(("call", "what it does", "body", "answer", "refused with"), rows)

    def parameters(self) -> str:
        """The table of what may follow a path after `?`."""
        rows = [
            (f"`{call}`", f"`{each['name']}`", self._type(each["schema"]), each["description"])
            for call, operation in self._operations
            for each in operation.get("parameters", ())
            if each["in"] == "query"
        ]
        return _table(("call", "parameter", "type", "meaning"), rows)

    def bodies(self) -> str:
        """A heading, a sentence and a table for each."""
        return "\n\n".join(self._body(name) for name in self._schemas if name in self._titled)

    def _body(self, name: str) -> str:
        said = _line(self._schemas[name]["description"])
        if base := self._extended[name]:
            said += f" It has all fields of {_link(base)}, and:"
        table = _table(("field", "type", "meaning"), list(self._fields(name, "")))
        return f"### {name}\n\n{said}\n\n{table}"

    def _fields(self, name: str, prefix: str) -> Iterator[tuple[str, str, str]]:
        for field, value in self._own_fields(name):
            text = self._type(value)
            if "default" in value:
                text += _otherwise(value["default"])
            elif field not in self._schemas[name]["required"]:
                text += ", may be missing"
            yield f"`{prefix}{field}`", text, value["description"]
            for inner in dict.fromkeys(_refs(value)):
                if inner not in self._titled:
                    mark = "[]" if value.get("type") == "array" else ""
                    yield from self._fields(inner, f"{prefix}{field}{mark}.")

    def _base(self, name: str, named: Collection[str]) -> str:
        """Of the bodies that calls name, the largest with a part of this one's fields; "" when there is none."""
        fields = {each: schema["properties"].items() for each, schema in self._schemas.items()}
        parts = [each for each in named if fields[each] < fields[name]]
        return max(parts, key=lambda each: len(fields[each]), default="")

    def _own_fields(self, name: str) -> list[tuple[str, Schema]]:
        base = self._extended[name]
        inherited = self._schemas[base]["properties"] if base else ()
        fields = self._schemas[name]["properties"].items()
        return [(field, value) for field, value in fields if field not in inherited]

    def _content(self, holder: Schema | None) -> str:
        """What a request or an answer consists of."""
        if holder is None:
            return ""
        [(kind, content)] = holder["content"].items()
        return self._type(content["schema"]) if kind == "application/json" else "text"

    def _type(self, schema: Schema, plural: str = "") -> str:
        """A type in words."""
        match schema:
            case {"$ref": str() as ref}:
                name = ref.removeprefix(_REF)
                return _link(name) if name in self._titled else f"object{plural}"
            case {"anyOf": list() as kinds}:
                known = [self._type(each) for each in kinds if each != _NULL]
                return " or ".join(known + ["null"] * (_NULL in kinds))
            case {"enum": list() as values}:
                return " \\| ".join(f"`{value}`" for value in values)
            case {"const": value}:
                return f"`{value}`"
            case {"type": "array", "items": items}:
                return f"list of {self._type(items, 's')}"
            case {"type": "object", "additionalProperties": {"type": str() as word}}:
                return f"{word}s by name"
            case {"type": "string", "format": "date-time"}:
                return "time"
            case {"type": str() as word}:
                return f"{word}{plural}"
        return "anything"


def _refs(schema: object) -> Iterator[str]:
    """Names of the bodies that a piece of the description refers to."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "$ref":
                yield value.removeprefix(_REF)
            else:
                yield from _refs(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from _refs(each)


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _otherwise(default: object) -> str:
    """What counts where a field is absent."""
    return f", else {default:g}" if isinstance(default, int | float) else ", may be missing"


def _line(text: str) -> str:
    return " ".join(text.split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def main() -> int:
    before = PAGE.read_text(encoding="utf-8")
    after = page(before, described())
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(after, encoding="utf-8")
        return 0
    if before != after:
        print(f"{PAGE} is not what the API says of itself: run `make docs`", file=sys.stderr)
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
