"""`overbook token`: who may do what. A token is shown once, when it is made."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.names_listed import Output, output_option, show
from overbook.cli.options import api_url_option
from overbook.cli.terminal import warn
from overbook.client.credentials import TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overbook.client.http import JsonObject

_ROLES: Final = ("infer", "viewer", "operator", "admin")


def _lifetime(text: str) -> float:
    """Seconds. The type of an option."""
    from overbook.manifests.durations import parse_seconds

    try:
        seconds = parse_seconds(text)
    except ValueError:
        seconds = 0.0
    if not seconds:
        raise click.BadParameter(
            f"{text!r} is no lifetime; expected a duration such as 12h or 30d, of ten years at most"
        )
    return seconds


@click.group(short_help="Tokens: who may do what.")
def token() -> None:
    """Make, list and revoke tokens.

    Without tokens, whoever can connect may do everything. Once there is one, everybody has to show one: this command
    line reads its own from OVERBOOK_TOKEN. The first must be an administrator's.

    \b
    infer     uses models
    viewer    looks at models, servers, events and metrics
    operator  uses and looks, and applies, deletes, activates, evicts and pins
    admin     everything, tokens and secrets too

    \b
    export OVERBOOK_TOKEN=$(overbook token create me --role admin)
    overbook token create web --role infer --models 'team-a-*' --expires 30d
    overbook token list
    overbook token revoke web
    """


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), required=True, help="What it may do.")
@click.option(
    "--models",
    multiple=True,
    metavar="PATTERN",
    help="Models that it may use, for the role infer; * stands for any characters. May be repeated.",
)
@click.option("--expires", type=_lifetime, metavar="DURATION", help="After how long it is void.")
@click.option(
    "--requests-per-second",
    type=click.IntRange(1),
    metavar="N",
    help="Requests for models that it may make at each gateway; more get 429.",
)
@click.option(
    "--waiting",
    type=click.IntRange(1),
    metavar="N",
    help="Requests that may wait for a model at once at each gateway; more get 429.",
)
@api_url_option
def create(
    name: str,
    role: str,
    models: tuple[str, ...],
    expires: float | None,
    requests_per_second: int | None,
    waiting: int | None,
    api_url: str,
) -> None:
    """Make a token, and print it: nothing shows it again.

    \b
    overbook token create me --role admin
    overbook token create web --role infer --models 'team-a-*' --models shared --expires 30d
    overbook token create batch --role infer --requests-per-second 100 --waiting 10
    """
    from overbook.cli.reading import text
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        made = client.create_token(
            *(name, role),
            models=models,
            expires_in=expires,
            requests_per_second=requests_per_second,
            waiting=waiting,
        )
    click.echo(text(made.get("token")))
    click.echo(
        f"token/{name} created; keep it now, it is not shown again "
        f"(this command line reads its own from {TOKEN_VARIABLE})",
        err=True,
    )
    warnings = made.get("warnings")
    for each in warnings if isinstance(warnings, list) else []:
        warn(text(each))


@token.command("list")
@output_option
@api_url_option
def list_(output: Output, api_url: str) -> None:
    """List the tokens: roles, models, when they end, and when they were last used.

    \b
    overbook token list
    overbook token list -o json
    """
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        found = client.tokens()
    show(
        found,
        output,
        kind="token",
        empty="no tokens: whoever can connect may do everything; begin with `overbook token create NAME --role admin`",
        table=_show,
    )


@token.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@api_url_option
def revoke(names: tuple[str, ...], api_url: str) -> None:
    """Make tokens void, at once and everywhere.

    \b
    overbook token revoke web
    """
    from overbook.cli.one_by_one import one_by_one
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        one_by_one(
            ((f"token/{name}", partial(client.revoke_token, name)) for name in names), "revoked"
        )


def _show(found: Sequence[JsonObject]) -> None:
    from overbook.cli.reading import moment, text
    from overbook.cli.tables import Column, table
    from overbook.cli.terminal import coloured, terminal_width
    from overbook.cli.words import ago

    now = time.time()
    columns = [
        Column("NAME"),
        Column("ROLE"),
        Column("MODELS", shrinks=True),
        Column("LIMITS", spare=1),
        Column("CREATED"),
        Column("EXPIRES"),
        Column("LAST USED"),
    ]
    rows = [
        [
            text(each.get("name")),
            text(each.get("role")),
            _models(each),
            _limits(each),
            ago(moment(each.get("created")), now),
            _expiry(text(each.get("expires")), now),
            ago(moment(each.get("lastUsed")), now) if each.get("lastUsed") else "-",
        ]
        for each in found
    ]
    click.echo(table(columns, rows, width=terminal_width(), colour=coloured()))


def _models(each: JsonObject) -> str:
    from overbook.cli.reading import text

    patterns = each.get("models")
    named = ", ".join(map(text, patterns)) if isinstance(patterns, list) else ""
    role = each.get("role")
    return named or ("-" if role == "viewer" else "all")


def _limits(each: JsonObject) -> str:
    from overbook.cli.reading import number

    rate, waiting = number(each.get("requestsPerSecond")), number(each.get("waiting"))
    told = (f"{rate}/s" if rate else "", f"{waiting} waiting" if waiting else "")
    return ", ".join(filter(None, told)) or "-"


def _expiry(at: str, now: float) -> str:
    from overbook.cli.reading import moment

    if not at:
        return "never"
    end = moment(at)
    return "expired" if end is not None and end <= now else at[:16].replace("T", " ")
