"""`overbook up`: options only; the machine does it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from overbook.cli.api_options import api_options, let_in
from overbook.cli.limit_options import limit_option
from overbook.cli.options import (
    PORT,
    activation_timeout_option,
    artifact_options,
    fetched_how,
    grace_option,
    insecure_option,
    parse_quantity,
    server_log_size_option,
    silence_limit_option,
)
from overbook.cli.terminal import warn
from overbook.cli.tls_options import tls_files, tls_options
from overbook.client.http import JsonObject
from overbook.machine.home import state_folder
from overbook.machine.options import (
    API_PORT,
    DATA_PORT,
    LOOPBACK,
    UpOptions,
)


@click.command(short_help="Start Overbook on this machine.")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE|DIR|-",
    help="Manifests to apply at the start; may be repeated.",
)
@click.option(
    "--memory",
    type=parse_quantity,
    metavar="BYTES",
    help="Budget for models, such as 2Gi, where a Server does not say.",
)
@click.option(
    "--overcommit",
    type=click.IntRange(0),
    metavar="PERCENT",
    help="By how much registered models may exceed the budget, where a Server does not say.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where state lives.  [env: OVERBOOK_STATE_DIR; default: ~/.local/state/overbook]",
)
@click.option("--host", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=PORT,
    metavar="PORT",
    default=DATA_PORT,
    show_default=True,
    help="Data plane: REST and gRPC.",
)
@click.option(
    "--api-port",
    type=PORT,
    metavar="PORT",
    default=API_PORT,
    show_default=True,
    help="Control API and metrics.",
)
@insecure_option
@tls_options
@activation_timeout_option
@grace_option
@silence_limit_option
@server_log_size_option
@artifact_options
@limit_option
@api_options
@click.pass_context
def up(ctx: click.Context, /, files: tuple[str, ...], state_dir: Path | None, **rest: Any) -> None:
    """Start Overbook on this machine, and serve until it is stopped.

    What was registered before is still there. Stop it with Ctrl-C: requests that run are answered first.

    \b
    overbook up
    overbook up -f models/ --memory 2Gi --overcommit 100
    overbook up --cache-size 200Gi --fetch-rate 50Mi
    overbook up --tls-cert server.pem --tls-key server.key
    overbook up --state-dir /var/lib/overbook --port 8000 --api-port 8001
    """
    tls = tls_files(rest)
    documents = _documents(files)
    from overbook.machine.up import run_up

    where = state_folder(state_dir)
    artifacts = fetched_how(rest)
    api = let_in(rest)
    options = UpOptions(
        state_dir=where, documents=documents, artifacts=artifacts, api=api, tls=tls, **rest
    )
    ctx.exit(run_up(options))


def _documents(files: tuple[str, ...]) -> tuple[JsonObject, ...]:
    """Reads the manifests before anything starts, so that what is wrong with them ends it here."""
    if not files:
        return ()
    from overbook.cli.sources import load_manifests

    manifests = load_manifests(files, stdin=sys.stdin.buffer)
    for problem in manifests.warnings:
        warn(str(problem))
    return tuple(each.body for each in manifests.loaded)
