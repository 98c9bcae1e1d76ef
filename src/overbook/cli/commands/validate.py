"""`overbook validate`: checks manifests without a running Overbook."""

from __future__ import annotations

import sys

import click

from overbook.cli.options import files_option


@click.command()
@files_option(required=True)
def validate(files: tuple[str, ...]) -> None:
    """Check manifests; nothing is sent and nothing needs to run.

    Every problem is one line with file, line and field.

    \b
    overbook validate -f iris.yaml
    overbook validate -f models/ -f servers.yaml
    cat iris.yaml | overbook validate -f -
    """
    from overbook.cli.sources import load_manifests

    manifests = load_manifests(files, stdin=sys.stdin.buffer)
    for problem in (*manifests.warnings, *manifests.missing):
        click.echo(f"warning: {problem}", err=True)
    for each in manifests.loaded:
        click.echo(f"{each.label} valid")
