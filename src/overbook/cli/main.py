"""The `overbook` command: which commands there are, and how every failure ends.

Exit codes: 0 done, 1 it failed (one line on stderr for each reason), 2 wrong usage. A command's module
is imported only when that command runs or helps, so that quick commands stay quick.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

from overbook import __version__
from overbook.cli.failures import reported
from overbook.cli.options import ca_option
from overbook.client.addresses import DEFAULT_API_URL, DEFAULT_URL

# Name, module below `commands`, attribute; in the order of the help.
_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": ("up", "up"),
    "apply": ("apply", "apply"),
    "validate": ("validate", "validate"),
    "import": ("import_", "import_"),
    "get": ("get", "get"),
    "describe": ("describe", "describe"),
    "delete": ("delete", "delete"),
    "wait": ("wait", "wait"),
    "infer": ("infer", "infer"),
    "metadata": ("metadata", "metadata"),
    "activate": ("act", "activate"),
    "evict": ("act", "evict"),
    "pin": ("act", "pin"),
    "unpin": ("act", "unpin"),
    "secret": ("secret", "secret"),
    "token": ("token", "token"),
    "tls": ("tls", "tls"),
    "events": ("events", "events"),
    "logs": ("logs", "logs"),
    "runtime": ("runtime", "runtime"),
    "demo": ("demo", "demo"),
    "doctor": ("doctor", "doctor"),
    "serve": ("serve", "serve"),
    "version": ("version", "version"),
}


class _Commands(click.Group):
    """Imports a command when it is asked for, and turns our errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"overbook.cli.commands.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # Click would look among commands that are imported already, and finds none.
            raise click.NoSuchCommand(
                error.command_name, possibilities=_COMMANDS, ctx=ctx
            ) from None

    def invoke(self, ctx: click.Context) -> object:
        with reported():
            result: object = super().invoke(ctx)
        return result


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="overbook", message="%(prog)s %(version)s")
@click.option(
    "--api-url",
    envvar="OVERBOOK_API_URL",
    default=DEFAULT_API_URL,
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Control API of a running Overbook.",
)
@click.option(
    "--url",
    envvar="OVERBOOK_URL",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    metavar="URL",
    help="Data plane of a running Overbook.",
)
@ca_option
def main(api_url: str, url: str) -> None:
    """Serve more models than fit in memory.

    \b
    overbook up -f models/            start, and serve what the manifests name
    overbook get models               what is registered, and what is in memory
    overbook infer iris @input.json   ask a model
    overbook demo                     see it work
    """
