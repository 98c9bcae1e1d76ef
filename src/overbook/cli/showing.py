"""How `get` shows models and servers: a table or for programs, and one after another as they change."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import click

from overbook.cli.options import Kind
from overbook.cli.reading import at, name_of, text
from overbook.cli.rows import (
    MODEL_COLUMNS,
    SERVER_COLUMNS,
    WIDE_MODEL_COLUMNS,
    WIDE_SERVER_COLUMNS,
    model_row,
    server_rows,
    steady,
    wide_model_row,
    wide_server_rows,
)
from overbook.cli.tables import Column, Layout
from overbook.cli.terminal import coloured, folded, safe_json, terminal_width
from overbook.client.http import JsonObject

Output: TypeAlias = Literal["table", "wide", "json", "yaml", "name", "manifest"]
OUTPUTS: Final[tuple[Output, ...]] = ("table", "wide", "json", "yaml", "name", "manifest")
# What a manifest holds besides its spec; all else is what has become of it.
_METADATA: Final = ("name", "namespace", "labels", "annotations")


class Tables:
    """Rows of one kind, in columns that stay as they were first laid out. `lasts`: the latest event of each model."""

    def __init__(self, kind: Kind, *, wide: bool) -> None:
        self._kind = kind
        self._wide = wide
        self._layout: Layout | None = None
        self.columns: Sequence[Column] = MODEL_COLUMNS if kind == "model" else SERVER_COLUMNS
        if wide:
            self.columns = WIDE_MODEL_COLUMNS if kind == "model" else WIDE_SERVER_COLUMNS

    def rows(
        self, found: Sequence[JsonObject], lasts: Mapping[str, JsonObject]
    ) -> list[tuple[str, ...]]:
        if self._kind == "server":
            rows = wide_server_rows if self._wide else server_rows
            return [row for each in found for row in rows(each)]
        now = time.time()
        if not self._wide:
            return [model_row(each, now) for each in found]
        return [wide_model_row(each, lasts.get(name_of(each)), now) for each in found]

    def show(self, rows: Sequence[tuple[str, ...]]) -> None:
        """Rows; before the first of all, the header."""
        if self._layout is None:
            width = terminal_width()
            self._layout = Layout(self.columns, rows, width=width, colour=coloured())
            if self._layout.dropped:
                titles = ", ".join(reversed(self._layout.dropped))
                note = f"(no room for {titles}; -o json has everything)"
                click.echo("\n".join(folded(note, width)), err=True)
            click.echo(self._layout.header)
        if rows:
            click.echo("\n".join(map(self._layout.row, rows)))

    def unchanging(self, rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        """What tells whether something happened, of the rows of one object."""
        return tuple(steady(self.columns, row) for row in rows)

    def farewell(self, name: str) -> None:
        """A row for what is there no more."""
        cells = [""] * len(self.columns)
        cells[0] = name
        cells[[column.title for column in self.columns].index("STATE")] = "deleted"
        self.show([tuple(cells)])


def latest_events(events: Sequence[JsonObject]) -> dict[str, JsonObject]:
    """The last event about each model."""
    return {text(each.get("name")): each for each in events if each.get("kind") == "Model"}


def manifest(thing: JsonObject) -> JsonObject:
    """What `apply` takes for it: the object without what has become of it."""
    metadata = at(thing, "metadata")
    known = metadata if isinstance(metadata, dict) else {}
    return {
        "apiVersion": thing.get("apiVersion"),
        "kind": thing.get("kind"),
        "metadata": {name: said for name, said in known.items() if name in _METADATA},
        "spec": thing.get("spec"),
    }


def dumped(value: object, output: Output) -> str:
    """JSON or YAML, without the last line break."""
    if output == "json":
        return safe_json(json.dumps(value, indent=2, ensure_ascii=False))
    return yaml_text(value)


def yaml_text(value: object) -> str:
    import yaml

    dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    said: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return said.rstrip("\n")


def one_line(value: object) -> str:
    return safe_json(json.dumps(value, ensure_ascii=False))
