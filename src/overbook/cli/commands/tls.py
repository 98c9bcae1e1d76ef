"""`overbook tls`: certificates for a start."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from pathlib import Path
from typing import Final

import click

from overbook.machine.folders import StateUnusable
from overbook.machine.home import state_folder

_NAME: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?", re.ASCII | re.IGNORECASE)
_HERE: Final = ("localhost", "127.0.0.1", "::1")


def _host(text: str) -> str:
    """The type of an option."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if len(text) > 253 or _NAME.fullmatch(text) is None:
            raise click.BadParameter(
                f"{text!r} is no name of a host; expected one such as overbook.example, *.example or 10.0.0.5"
            ) from None
        return text.lower()


def _in_state_folder() -> Path:
    """For this user alone, whoever makes the state folder first."""
    state = state_folder(None)
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateUnusable(
            f"state folder {state} cannot be used: {error.strerror or error}; give a folder with --dir"
        ) from error
    return state / "tls"


@click.group(short_help="Certificates for a start.")
def tls() -> None:
    """Make certificates.

    Overbook takes any in PEM, of whatever authority; those of `overbook tls init` are for a start.

    \b
    overbook tls init --name overbook.example
    overbook tls init --renew
    """


@tls.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files are put.  [default: tls in the state folder, ~/.local/state/overbook/tls]",
)
@click.option(
    "--name",
    "names",
    type=_host,
    multiple=True,
    metavar="HOST",
    help="One more name or address of the server; localhost and this machine's are there anyway. May be repeated.",
)
@click.option(
    "--renew",
    is_flag=True,
    help="Replace the server's, the client's and the parts' certificates by new ones of the same authorities.",
)
def init(folder: Path | None, names: tuple[str, ...], renew: bool) -> None:
    """Make a private authority, and certificates for the server, a client and the parts.

    What is there already is kept. Names are the server certificate's: to add one, say all of them, and --renew. What
    runs takes renewed files by itself.

    \b
    overbook tls init
    overbook tls init --dir /etc/overbook/tls --name overbook.example --name 10.0.0.5
    overbook tls init --dir /etc/overbook/tls --name overbook.example --renew
    """
    from overbook.cli.failures import Failed
    from overbook.tls.folder import SERVER, fill, lifetimes
    from overbook.tls.pair import TlsUnusable

    where = (folder or _in_state_folder()).absolute()
    # A machine may be called what no certificate can be for.
    machine = filter(_NAME.fullmatch, [socket.gethostname()])
    hosts = tuple(dict.fromkeys((*_HERE, *machine, *names)))
    try:
        filled = fill(where, hosts, time.time(), renew=renew)
    except TlsUnusable as error:
        raise Failed(f"Error: {error}") from None
    except OSError as error:
        raise Failed(
            f"Error: {where}: {error.strerror or error}; give another folder with --dir"
        ) from None
    for path in filled.kept:
        click.echo(f"kept      {path}")
    replaced = set(filled.replaced)
    for each in filled.written:
        done = "replaced " if each.path in replaced else "made     "
        click.echo(f"{done} {each.path}  ({each.what})")
    if not filled.written:
        click.echo("all of it is there, and nothing was made; --renew makes new certificates")
        return
    years, days = lifetimes()[0] // 365, lifetimes()[1]
    certificate = where / f"{SERVER}.pem"
    if any(each.path == certificate for each in filled.written):
        click.echo(f"{certificate} is for {', '.join(hosts)}")
    elif names:
        click.echo(
            f"{certificate} was kept, with the names that it has; --renew makes one for those given now"
        )
    click.echo(f"valid for {days} days, the authorities for {years} years")
    click.echo(f"\noverbook up --tls-cert {where}/server.pem --tls-key {where}/server.key")
    click.echo(f"export OVERBOOK_CA={where}/ca.pem")
