"""`overbook describe`: everything about one model or server, and why."""

from __future__ import annotations

import time

import click

from overbook.cli.options import Kind, api_url_option, parse_kind


@click.command(short_help="Show one model or server in full, and why it is so.")
@click.argument("kind", type=parse_kind, metavar="KIND")
@click.argument("name")
@api_url_option
def describe(kind: Kind, name: str, api_url: str) -> None:
    """Show one model or server in full: replicas, placement with its numbers, recent events.

    \b
    overbook describe model iris
    overbook describe server mlserver
    """
    from overbook.cli.describing import Page, describe_model, describe_server
    from overbook.cli.terminal import coloured, terminal_width
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        found = client.describe(kind, name)
    text = describe_model if kind == "model" else describe_server
    page = Page(time.time(), terminal_width(), coloured())
    click.echo(text(found, page))
