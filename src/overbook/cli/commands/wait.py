"""`overbook wait`: until a model is ready."""

from __future__ import annotations

import click

from overbook.cli.options import Kind, api_url_option, parse_duration, parse_kind


@click.command(short_help="Wait until models are ready.")
@click.argument("kind", type=parse_kind, metavar="KIND")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--for",
    "state",
    type=click.Choice(["ready"]),
    default="ready",
    show_default=True,
    help="What to wait for.",
)
@click.option(
    "--timeout",
    type=parse_duration,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long.",
)
@api_url_option
def wait(kind: Kind, names: tuple[str, ...], state: str, timeout: float, api_url: str) -> None:
    """Wait until models are ready to be asked; in memory they need not be.

    Exit code 1 when they are not ready in time, with the reason; at once for a model that failed for good, which
    is not tried again before it is changed or activated.

    \b
    overbook wait model iris --for ready
    overbook wait model iris wine --for ready --timeout 2m
    """
    from overbook.cli.waiting import wait_for_models
    from overbook.client.control import ControlClient

    if kind != "model":
        raise click.BadParameter("only models can be waited for; expected model", param_hint="KIND")
    with ControlClient(api_url) as client:
        wait_for_models(client, dict.fromkeys(names, 0), timeout=timeout, give_up_on_failure=False)
