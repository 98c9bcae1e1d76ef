"""`overbook delete`: by name, or everything that manifests name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

import click

from overbook.cli.options import Kind, api_url_option, files_option, parse_kind


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
    from overbook.cli.one_by_one import one_by_one
    from overbook.client.control import ControlClient

    if bool(files) == bool(names):
        raise click.UsageError("expected either KIND and NAME, or -f FILE")
    with ControlClient(api_url) as client:
        one_by_one(
            (
                (f"{each}/{name}", partial(client.delete, each, name))
                for each, name in _targets(kind, names, files)
            ),
            "deleted",
        )


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
