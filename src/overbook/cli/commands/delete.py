"""`overbook delete`: by name, or everything that manifests name."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from overbook.cli.failures import Failed
from overbook.cli.options import Kind, api_url_option, files_option, parse_kind
from overbook.cli.terminal import warn


@click.command(short_help="Delete models or servers.")
@click.argument("kind", type=parse_kind, metavar="KIND", required=False)
@click.argument("names", nargs=-1, metavar="[NAME...]")
@files_option(required=False)
@api_url_option
def delete(kind: Kind | None, names: tuple[str, ...], files: tuple[str, ...], api_url: str) -> None:
    """Delete models or servers; requests in flight are finished first.

    \b
    overbook delete model iris
    overbook delete server mlserver
    overbook delete -f models/
    """
    from overbook.client.control import ControlClient
    from overbook.client.errors import NotFound, Refused

    if bool(files) == bool(names):
        raise click.UsageError("expected either KIND and NAME, or -f FILE")
    failed = []
    with ControlClient(api_url) as client:
        for each, name in _targets(kind, names, files):
            try:
                warnings = client.delete(each, name)
            except (NotFound, Refused) as error:
                failed.append(f"Error: {each}/{name}: {error}")
            else:
                click.echo(f"{each}/{name} deleted")
                for warning in warnings:
                    warn(warning)
    if failed:
        raise Failed(*failed)


def _targets(
    kind: Kind | None, names: tuple[str, ...], files: tuple[str, ...]
) -> Iterator[tuple[Kind, str]]:
    """Models before servers, so that no model is placed anew on the way."""
    if kind is not None:
        for name in names:
            yield kind, name
        return
    from overbook.cli.sources import load_manifests

    loaded = load_manifests(files, stdin=sys.stdin.buffer).loaded
    for each in loaded:
        if each.kind == "Model":
            yield "model", each.name
    for each in loaded:
        if each.kind == "Server":
            yield "server", each.name
