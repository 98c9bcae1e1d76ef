"""`overbook events`: what happened, and with -w what is happening."""

from __future__ import annotations

import json
from typing import Final, Literal

import click

from overbook.cli.options import api_url_option
from overbook.client.http import JsonObject

# One long poll; the server answers earlier when something happens.
_POLL: Final = 20.0


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Keep showing new events until Ctrl-C.")
@click.option("--model", metavar="NAME", help="Only events of this model.")
@click.option(
    "--after",
    type=click.IntRange(0),
    default=0,
    metavar="SEQ",
    help="Only events after this number.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)
@api_url_option
def events(
    watch: bool, model: str | None, after: int, output: Literal["table", "json"], api_url: str
) -> None:
    """Show what happened: loads, evictions, failures, placements.

    \b
    overbook events
    overbook events -w --model iris
    """
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        page = client.events(after=after, model=model)
        _show(page.events, output)
        if not page.events and not watch:
            click.echo("no events", err=True)
        try:
            while watch:
                page = client.events(after=page.last, wait=_POLL, model=model)
                _show(page.events, output)
        except KeyboardInterrupt:
            # The way to end a watch: not a failure.
            return


def _show(found: tuple[JsonObject, ...], output: Literal["table", "json"]) -> None:
    from overbook.cli.event_lines import event_line
    from overbook.cli.terminal import coloured, safe_json, terminal_width

    width, colour = terminal_width(), coloured()
    for event in found:
        if output == "json":
            click.echo(safe_json(json.dumps(event, ensure_ascii=False)))
        else:
            click.echo(event_line(event, width=width, colour=colour))
