"""What `list` shows of named objects: a table, or JSON, YAML or names for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

import click

from overbook.client.http import JsonObject

Output: TypeAlias = Literal["table", "json", "yaml", "name"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FORMS: Final = ("table", "json", "yaml", "name")


def output_option(function: _Function) -> _Function:
    """`-o`."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(_FORMS),
        default="table",
        show_default=True,
        help="json and yaml are stable, for programs.",
    )
    return option(function)


def show(
    found: Sequence[JsonObject],
    output: Output,
    *,
    kind: str,
    empty: str,
    table: Callable[[Sequence[JsonObject]], None],
) -> None:
    """Prints them. ``empty``: said on stderr where there is nothing for the ``table``."""
    from overbook.cli.reading import text
    from overbook.cli.showing import dumped

    if output in ("json", "yaml"):
        click.echo(dumped(list(found), output))
    elif output == "name":
        for each in found:
            click.echo(f"{kind}/{text(each.get('name'))}")
    elif found:
        table(found)
    else:
        click.echo(empty, err=True)
