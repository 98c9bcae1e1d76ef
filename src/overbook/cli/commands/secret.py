"""`overbook secret`: what is needed to be let in where artifacts are. It is sent, and never shown."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.failures import Failed
from overbook.cli.names_listed import Output, output_option, show
from overbook.cli.options import api_url_option
from overbook.cli.terminal import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from overbook.client.http import JsonObject

# What a secret may have at most; bytes.
_MOST: Final = 64 * 1024


@click.group(short_help="Secrets for the places that artifacts come from.")
def secret() -> None:
    """Set, list and delete the secrets that models name (`secretName`).

    A secret is one rclone remote in JSON or YAML: name (the scheme that addresses begin with), type and
    parameters. It is sealed on the scheduler's disk, and nothing shows it again. docs/storage.md has one for each
    kind of store.

    \b
    $ cat minio.yaml
    name: s3
    type: s3
    parameters:
      provider: Minio
      endpoint: http://minio.example:9000
      access_key_id: models
      secret_access_key: 2dBq7XmfJw
    \b
    overbook secret set minio --from minio.yaml
    overbook validate -f iris.yaml --remote    # does it let anybody in?
    overbook secret list
    overbook secret delete minio
    """


@secret.command("set")
@click.argument("name")
@click.option("--from", "source", metavar="FILE|-", help="File with the secret; - for stdin.")
@click.option("--from-env", "variable", metavar="VAR", help="Environment variable with the secret.")
@api_url_option
def set_(name: str, source: str | None, variable: str | None, api_url: str) -> None:
    """Set a secret, in place of what had its name. What failed for want of it is tried again.

    \b
    overbook secret set minio --from minio.yaml
    vault read -field=remote kv/minio | overbook secret set minio --from -
    overbook secret set minio --from-env MINIO
    """
    from overbook.client.control import ControlClient

    if (source is None) == (variable is None):
        raise click.UsageError("expected either --from FILE, --from - or --from-env VAR")
    text = _file(source) if source is not None else _variable(str(variable))
    with ControlClient(api_url) as client:
        warnings = client.set_secret(name, text)
    click.echo(f"secret/{name} set")
    for warning in warnings:
        warn(warning)


@secret.command("list", short_help="List the secrets that are set, and who names them.")
@output_option
@api_url_option
def list_(output: Output, api_url: str) -> None:
    """List the secrets that are set, and which models name them; never what is in them.

    Those in a folder (`--secrets`) or in variables (`OVERBOOK_SECRET_NAME`) are not among them.

    \b
    overbook secret list
    overbook secret list -o json
    """
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        found = client.secrets()
    show(
        found,
        output,
        kind="secret",
        empty="no secrets; set one with `overbook secret set NAME --from FILE`",
        table=_show,
    )


@secret.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@api_url_option
def delete(names: tuple[str, ...], api_url: str) -> None:
    """Delete secrets. Models that name one are named; what they have fetched already stays.

    \b
    overbook secret delete minio
    """
    from overbook.cli.one_by_one import one_by_one
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        one_by_one(
            ((f"secret/{name}", partial(client.delete_secret, name)) for name in names), "deleted"
        )


def _file(source: str) -> str:
    try:
        if source == "-":
            content = sys.stdin.buffer.read(_MOST + 1)
        else:
            with open(source, "rb") as file:
                content = file.read(_MOST + 1)
    except OSError as error:
        raise Failed(f"Error: --from {source}: cannot be read ({error.strerror})") from None
    if len(content) > _MOST:
        raise Failed(f"Error: --from {source}: has more than {_MOST} bytes; a secret is small")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Failed(f"Error: --from {source}: is no text; expected UTF-8") from None


def _variable(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        raise Failed(f"Error: --from-env {name}: is not set; expected a variable with the secret")
    return text


def _show(found: Sequence[JsonObject]) -> None:
    from overbook.cli.reading import moment, text
    from overbook.cli.tables import Column, table
    from overbook.cli.terminal import coloured, terminal_width
    from overbook.cli.words import ago

    now = time.time()
    problems = any(each.get("problem") for each in found)
    columns = [
        Column("NAME"),
        Column("TYPE", shrinks=True),
        Column("SET"),
        Column("MODELS", shrinks=True),
    ]
    rows = [
        [
            text(each.get("name")),
            text(each.get("type")) or "-",
            ago(moment(each.get("updated")), now),
            _users(each) or "-",
        ]
        for each in found
    ]
    if problems:
        columns.append(Column("PROBLEM", folds=True))
        for each, row in zip(found, rows, strict=True):
            row.append(text(each.get("problem")) or "-")
    click.echo(table(columns, rows, width=terminal_width(), colour=coloured()))


def _users(each: JsonObject) -> str:
    from overbook.cli.reading import text

    users = each.get("usedBy")
    return ", ".join(map(text, users)) if isinstance(users, list) else ""
