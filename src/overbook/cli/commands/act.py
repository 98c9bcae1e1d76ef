"""`overbook activate`, `evict`, `pin` and `unpin`: what a person may ask of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from overbook.cli.failures import Failed
from overbook.cli.options import api_url_option, parse_duration
from overbook.cli.terminal import warn

if TYPE_CHECKING:
    from overbook.client.control import ControlClient

_models = click.argument("models", nargs=-1, required=True, metavar="MODEL...")
_timeout = click.option(
    "--timeout",
    type=parse_duration,
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long it may take.",
)


@click.command(short_help="Load models into memory now.")
@_models
@_timeout
@api_url_option
def activate(models: tuple[str, ...], timeout: float, api_url: str) -> None:
    """Load models into memory now, before a request asks for them.

    What failed before is tried again at once: a load, a fetch of its files, a source that gave no answer. Exit
    code 1 where a model is not in memory in time, with the reason.

    \b
    overbook activate iris
    overbook activate iris wine --timeout 5m
    """
    _act("activate", "activated", models, timeout=timeout, api_url=api_url)


@click.command(short_help="Unload models from memory; they stay ready.")
@_models
@_timeout
@api_url_option
def evict(models: tuple[str, ...], timeout: float, api_url: str) -> None:
    """Unload models from memory; they stay ready, and come back when a request asks.

    Requests in flight are finished first, and the model has left memory when this returns. A pinned model
    stays: unpin it first.

    \b
    overbook evict iris
    """
    _act("evict", "evicted", models, timeout=timeout, api_url=api_url)


@click.command()
@_models
@api_url_option
def pin(models: tuple[str, ...], api_url: str) -> None:
    """Keep models in memory: never evict them for others.

    Other models share what pinned ones leave. Models that this leaves no room for are named, with what
    they need.

    \b
    overbook pin fraud
    """
    _act("pin", "pinned", models, timeout=60.0, api_url=api_url)


@click.command()
@_models
@api_url_option
def unpin(models: tuple[str, ...], api_url: str) -> None:
    """Let models be evicted again.

    \b
    overbook unpin fraud
    """
    _act("unpin", "unpinned", models, timeout=60.0, api_url=api_url)


def _act(
    action: Literal["activate", "evict", "pin", "unpin"],
    done: str,
    models: tuple[str, ...],
    *,
    timeout: float,
    api_url: str,
) -> None:
    from overbook.client.control import ControlClient
    from overbook.client.errors import NotFound, Refused

    failed = []
    with ControlClient(api_url) as client:
        for model in models:
            try:
                warnings = client.act(action, model, timeout=timeout)
            except (NotFound, Refused) as error:
                more = _fetching(client, model) if action == "activate" else ""
                failed.append(f"Error: model/{model} is not {done}: {error}{more}")
            else:
                click.echo(f"model/{model} {done}")
                for warning in warnings:
                    warn(warning)
    if failed:
        raise Failed(*failed)


def _fetching(client: ControlClient, model: str) -> str:
    """How far the fetch of its files is that goes on; "" where there is none, or nobody says."""
    from overbook.cli.fetching import fetch_awaited
    from overbook.client.errors import ClientError

    try:
        fetch = fetch_awaited(client.get("model", model))
    except ClientError:
        return ""
    return "" if fetch is None else f"; fetching {fetch.told}"
