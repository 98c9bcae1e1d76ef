"""`overbook validate`: says what an apply would refuse, by this machine's files or by a running Overbook."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.options import api_url_option, files_option
from overbook.cli.terminal import complain, remark, warn

if TYPE_CHECKING:
    from overbook.cli.sources import Loaded
    from overbook.client.control import Applied

_CHUNK: Final = 500
# Models named in a note; the others are counted.
_NAMED: Final = 5


@click.command()
@files_option(required=True)
@click.option(
    "--remote",
    is_flag=True,
    help="Ask a running Overbook: it looks at files on its machines, and at sources elsewhere with its secrets.",
)
@api_url_option
@click.pass_context
def validate(ctx: click.Context, files: tuple[str, ...], remote: bool, api_url: str) -> None:
    """Say what apply would refuse, and store nothing.

    Manifests are read, and the models' files are looked at. Without --remote nothing needs to run: files of this
    machine are looked at, and of those elsewhere only the address. With --remote a running Overbook looks at all of
    them, which tells whether an address and its secret work; what nobody could look at is not valid then. Every
    problem is one line with file, line and field.

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
    said = {str(replace(each, source=None)) for each in manifests.warnings}
    refused = _asked(loaded, api_url, said) if remote else _looked(loaded)
    for each, why in zip(loaded, refused, strict=True):
        if why:
            complain(why)
        else:
            click.echo(f"{each.label} valid")
    if not remote and (unseen := _unseen(loaded, refused)):
        remark(unseen)
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


def _unseen(loaded: Sequence[Loaded], refused: Sequence[str]) -> str:
    """What this machine cannot say of what it took for right; "" when there is nothing of that kind."""
    from overbook.artifacts.address import is_remote
    from overbook.cli.reading import at, text

    names, secrets = [], False
    for each, why in zip(loaded, refused, strict=True):
        if not why and is_remote(text(at(each.body, "spec", "storageUri"))):
            names.append(each.label)
            secrets |= at(each.body, "spec", "secretName") is not None
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    its = "its secret lets" if len(names) == 1 else "their secrets let"
    return (
        f"nobody looked at the files of {', '.join(names[:_NAMED])}{more}, which are elsewhere"
        f"{f', or whether {its} anybody in' if secrets else ''}; `overbook validate --remote` does, through a running "
        "Overbook"
    )


def _asked(loaded: Sequence[Loaded], api_url: str, said: Collection[str]) -> list[str]:
    """The same, by the word of a running Overbook. ``said``: warnings that were told before."""
    from overbook.client.control import ControlClient

    lines: list[str] = []
    warnings: dict[str, None] = {}
    with ControlClient(api_url) as client:
        for start in range(0, len(loaded), _CHUNK):
            chunk = loaded[start : start + _CHUNK]
            results = client.validate([each.body for each in chunk])
            lines += [
                f"{each.place}: {each.label}: {_refused(result)}" if _refused(result) else ""
                for each, result in zip(chunk, results, strict=True)
            ]
            for result in results:
                warnings.update((text, None) for text in result.warnings if text not in said)
    for warning in warnings:
        warn(warning)
    return lines


def _refused(result: Applied) -> str:
    """Who asked for a look is not told `valid` where there was none."""
    if result.action == "unseen" and not result.error:
        return (
            "nobody could look at its files; an apply would store it and have them looked at later"
        )
    return result.error
