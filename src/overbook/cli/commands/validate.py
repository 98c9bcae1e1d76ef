"""`overbook validate`: says what an apply would refuse, by this machine's files or by a running Overbook."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.options import api_url_option, files_option
from overbook.cli.terminal import warn

if TYPE_CHECKING:
    from overbook.cli.sources import Loaded

_CHUNK: Final = 500


@click.command()
@files_option(required=True)
@click.option(
    "--remote",
    is_flag=True,
    help="Ask a running Overbook, whose machines may have other files than this one.",
)
@api_url_option
@click.pass_context
def validate(ctx: click.Context, files: tuple[str, ...], remote: bool, api_url: str) -> None:
    """Say what apply would refuse, and store nothing.

    Manifests are read, and the models' files are looked at: on this machine, where nothing needs to run, or with
    --remote by the agents of a running Overbook. Every problem is one line with file, line and field.

    \b
    overbook validate -f iris.yaml
    overbook validate -f models/ -f servers.yaml
    overbook validate -f models/ --remote
    cat iris.yaml | overbook validate -f -
    """
    from overbook.cli.sources import load_manifests

    manifests = load_manifests(files, stdin=sys.stdin.buffer)
    for problem in manifests.warnings:
        warn(str(problem))
    loaded = manifests.loaded
    refused = _asked(loaded, api_url) if remote else _looked(loaded)
    for each, why in zip(loaded, refused, strict=True):
        if why:
            click.echo(why, err=True)
        else:
            click.echo(f"{each.label} valid")
    if any(refused):
        ctx.exit(1)


def _looked(loaded: Sequence[Loaded]) -> list[str]:
    """A line for each manifest, "" for what is right."""
    from overbook.machine.checking import check

    found = check([each.body for each in loaded])
    return [
        "" if why is None else str(each.problem(why.message, why.path))
        for each, why in zip(loaded, found, strict=True)
    ]


def _asked(loaded: Sequence[Loaded], api_url: str) -> list[str]:
    """The same, by the word of a running Overbook."""
    from overbook.client.control import ControlClient

    lines: list[str] = []
    with ControlClient(api_url) as client:
        for start in range(0, len(loaded), _CHUNK):
            chunk = loaded[start : start + _CHUNK]
            results = client.validate([each.body for each in chunk])
            lines += [
                f"{each.place}: {each.label}: {result.error}" if result.error else ""
                for each, result in zip(chunk, results, strict=True)
            ]
    return lines
