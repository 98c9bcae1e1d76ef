"""`overbook version`: this program's version, and that of the one which is running."""

from __future__ import annotations

import click

from overbook import __version__
from overbook.cli.options import api_url_option


@click.command()
@api_url_option
def version(api_url: str) -> None:
    """Show the version, and that of a running Overbook.

    \b
    overbook version
    """
    from overbook.client.control import ControlClient
    from overbook.client.errors import ClientError

    click.echo(f"overbook {__version__}")
    try:
        with ControlClient(api_url, timeout=2.0) as client:
            click.echo(f"running  {client.version()} at {client.url}")
    except ClientError:
        return
