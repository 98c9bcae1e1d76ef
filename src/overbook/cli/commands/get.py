"""`overbook get`: models or servers, as a table or for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Literal

import click

from overbook.cli.options import Kind, api_url_option, parse_kind
from overbook.client.http import JsonObject


@click.command()
@click.argument("kind", type=parse_kind, metavar="KIND")
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "name"]),
    default="table",
    show_default=True,
    help="json and yaml are stable, for programs.",
)
@api_url_option
def get(
    kind: Kind, name: str | None, output: Literal["table", "json", "yaml", "name"], api_url: str
) -> None:
    """List models or servers, or one of them.

    MEMORY is what a model takes when it is in memory: measured where that is known, else as
    declared; a dash where nobody has said or seen it yet.

    \b
    overbook get models
    overbook get model iris -o yaml
    overbook get servers -o json
    """
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        found = client.list(kind) if name is None else (client.get(kind, name),)
    if output in ("json", "yaml"):
        value = list(found) if name is None else found[0]
        click.echo(_dumped(value, output))
    elif output == "name":
        for each in found:
            click.echo(_name(kind, each))
    elif not found:
        click.echo(f"no {kind}s; apply one with `overbook apply -f FILE`", err=True)
    else:
        click.echo(_table(kind, found))


def _dumped(value: object, output: str) -> str:
    if output == "json":
        return json.dumps(value, indent=2, ensure_ascii=False)
    import yaml

    dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    text: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return text.rstrip("\n")


def _name(kind: Kind, thing: JsonObject) -> str:
    from overbook.cli.reading import name_of

    return f"{kind}/{name_of(thing)}"


def _table(kind: Kind, found: Sequence[JsonObject]) -> str:
    from overbook.cli.rows import MODEL_COLUMNS, SERVER_COLUMNS, model_row, server_rows
    from overbook.cli.tables import table, terminal_width

    if kind == "model":
        now = time.time()
        rows = [model_row(each, now) for each in found]
        return table(MODEL_COLUMNS, rows, width=terminal_width())
    rows = [row for each in found for row in server_rows(each)]
    return table(SERVER_COLUMNS, rows, width=terminal_width())
