"""`overbook apply`: manifests to the control API, some hundreds at a time, and what became of each."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.options import api_url_option, files_option, parse_duration
from overbook.cli.terminal import complain, warn

if TYPE_CHECKING:
    from overbook.cli.sources import Loaded
    from overbook.client.control import ControlClient

_CHUNK: Final = 500
# Above this many, a bar while it lasts and a count at the end instead of a line each.
_MANY: Final = 1000


@click.command()
@files_option(required=True)
@click.option("--wait", is_flag=True, help="Wait until every applied model is ready.")
@click.option(
    "--timeout",
    type=parse_duration,
    metavar="DURATION",
    default="300s",
    show_default=True,
    help="How long --wait waits.",
)
@api_url_option
@click.pass_context
def apply(
    ctx: click.Context, files: tuple[str, ...], wait: bool, timeout: float, api_url: str
) -> None:
    """Register models and servers, or change them.

    Applying the same again changes nothing. Each document stands alone: when one is refused, the
    others are applied all the same, and the exit code is 1.

    \b
    overbook apply -f iris.yaml
    overbook apply -f models/ --wait
    cat iris.yaml | overbook apply -f -
    """
    from overbook.cli.sources import load_manifests
    from overbook.cli.waiting import wait_for_models
    from overbook.client.control import ControlClient

    manifests = load_manifests(files, stdin=sys.stdin.buffer)
    for problem in manifests.warnings:
        warn(str(problem))
    with ControlClient(api_url) as client:
        said = {str(replace(each, source=None)) for each in manifests.warnings}
        failed, generations = _send(client, manifests.loaded, said)
        for line in failed:
            complain(line)
        if wait and generations:
            wait_for_models(client, generations, timeout=timeout, give_up_on_failure=True)
    if failed:
        ctx.exit(1)


def _send(
    client: ControlClient, loaded: Sequence[Loaded], said: Collection[str]
) -> tuple[list[str], dict[str, int]]:
    """Lines about what was refused or found no place, and the generation of every other model.

    ``said``: warnings that were told before.
    """
    failed: list[str] = []
    generations: dict[str, int] = {}
    actions: Counter[str] = Counter()
    warnings: dict[str, None] = {}
    many = len(loaded) > _MANY
    with _progress(len(loaded) if many else 0) as advance:
        for start in range(0, len(loaded), _CHUNK):
            chunk = loaded[start : start + _CHUNK]
            reply = client.apply([one.body for one in chunk])
            for each, result in zip(chunk, reply.results, strict=True):
                warnings.update((text, None) for text in result.warnings if text not in said)
                actions[result.action] += 1
                if not many and result.action != "failed":
                    click.echo(f"{each.label} {result.action}")
                if result.error:
                    # It may be registered all the same, and be placed when there is room.
                    what = "failed" if result.action == "failed" else "is not placed"
                    failed.append(f"{each.place}: {each.label} {what}: {result.error}")
                elif each.kind == "Model":
                    generations[each.name] = result.generation
            warnings.update(dict.fromkeys(reply.warnings))
            advance(len(chunk))
    for warning in warnings:
        warn(warning)
    if many:
        counts = ", ".join(f"{count} {action}" for action, count in sorted(actions.items()))
        click.echo(f"{len(loaded)} documents: {counts}")
    return failed, generations


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr when it is a terminal and there is a total; else nothing."""
    if not total or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, label="applying", file=sys.stderr, show_pos=True) as bar:
        yield bar.update
