"""`overbook demo`: options only; the demo does it."""

from __future__ import annotations

from pathlib import Path

import click

from overbook.cli.options import PORT
from overbook.demo.options import (
    DEFAULT_API_PORT,
    DEFAULT_MODELS,
    DEFAULT_PORT,
    DEFAULT_SECONDS,
    DEFAULT_SEED,
    DemoOptions,
)


@click.command(short_help="See it work: real models, more than fit.")
@click.option(
    "--models",
    type=click.IntRange(1),
    default=DEFAULT_MODELS,
    show_default=True,
    help="How many models.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT_SECONDS,
    show_default=True,
    help="How long the traffic lasts.",
)
@click.option(
    "--port",
    type=PORT,
    metavar="PORT",
    default=DEFAULT_PORT,
    show_default=True,
    help="Data plane.",
)
@click.option(
    "--api-port",
    type=PORT,
    metavar="PORT",
    default=DEFAULT_API_PORT,
    show_default=True,
    help="Control API.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where state and models live; without it, a folder of the demo's own.",
)
@click.option("--keep", is_flag=True, help="Leave Overbook's state for a look afterwards.")
@click.option(
    "--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Seed of the traffic."
)
@click.pass_context
def demo(ctx: click.Context, /, **_: object) -> None:
    """See it work: train models, serve more of them than fit in memory, and watch.

    \b
    overbook demo
    overbook demo --models 20 --seconds 20
    """
    from overbook.demo.run import run_demo

    ctx.exit(run_demo(DemoOptions(**ctx.params)))
