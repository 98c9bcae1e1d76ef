"""Which names the readers of the control API's JSON ask for, and whether what they ask has them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from overbook.client.http import Json

# Functions of the readers that take an object, and then names of its fields.
_READERS = ("at", "_text")


class Asked(dict[str, Json]):
    """An object of an answer that notes what it is asked for. To ask for a field that it does not have fails.

    An answer as it is described has all its fields, so what is not there is not described.
    """

    def __init__(self, fields: dict[str, Json], names: set[str]) -> None:
        super().__init__({name: asked(value, names) for name, value in fields.items()})
        self._names = names

    def get(self, key: str, default: Any = None, /) -> Any:
        assert key in self, f"{key!r} is asked for, and there are only {', '.join(self)}"
        self._names.add(key)
        return self[key]


def asked(value: Json, names: set[str]) -> Json:
    """The same value, all of whose objects note in ``names`` what they are asked for."""
    if isinstance(value, dict):
        return Asked(value, names)
    if isinstance(value, list):
        return [asked(each, names) for each in value]
    return value


def names_in(module: ModuleType) -> set[str]:
    """The names of fields that stand in a reader's source."""
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    return {name for node in nodes if isinstance(node, ast.Call) for name in _names_of(node)}


def _names_of(call: ast.Call) -> Iterator[str]:
    match call:
        case ast.Call(func=ast.Attribute(ast.Name(holder), "get"), args=[name]) if (
            holder != "client"
        ):
            names = [name]
        case ast.Call(func=ast.Name(reader), args=[_, *names]) if reader in _READERS:
            pass
        case _:
            return
    for each in names:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value
