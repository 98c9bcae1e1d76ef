"""`overbook logs`: what an inference server and its models write."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.failures import Failed
from overbook.cli.options import api_url_option
from overbook.cli.terminal import coloured, safe, terminal_width

if TYPE_CHECKING:
    from overbook.cli.following import Followed
    from overbook.client.control import ControlClient

# One long poll of one log; several are asked in turn.
_POLL: Final = 20.0
_TURN: Final = 0.5
# Before an agent that is away is asked again.
_PAUSE: Final = 1.0


@click.command(short_help="Show what an inference server and its models write.")
@click.argument("target", metavar="SERVER|SERVER/NUMBER|model/NAME")
@click.option("-f", "--follow", is_flag=True, help="Keep showing new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 10_000),
    default=100,
    show_default=True,
    help="How many of the last lines.",
)
@api_url_option
def logs(target: str, follow: bool, lines: int, api_url: str) -> None:
    """Show what an inference server and its models write, and where the file is.

    For a model: its events, and the records of the log that name it. Servers do not say which model
    wrote a line, so look for what a model prints in the log of its server.

    \b
    overbook logs mlserver
    overbook logs -f triton/0
    overbook logs model/iris -n 20
    """
    from overbook.cli.following import meant
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        found, model = meant(client, target)
        if not found and not follow:
            raise Failed(f"Error: {target} is on no server replica, so it has no log")
        try:
            _Output(client, found, model, lines).run(follow=follow)
        except KeyboardInterrupt:
            # The way to end it: not a failure.
            return


class _Output:
    def __init__(self, client: ControlClient, logs: list[Followed], model: str, lines: int) -> None:
        self._client = client
        self._logs = logs
        self._model = model
        self._lines = lines
        self._last_event = 0
        self._said: dict[str, str] = {}

    def run(self, *, follow: bool) -> None:
        shown = self._events() if self._model else 0
        for log in self._logs:
            shown += self._log(log, wait=0.0)
        failed = [f"Error: {log.failed}" for log in self._logs if log.failed]
        if not follow:
            if failed:
                raise Failed(*failed)
            if not shown and self._lines:
                for log in self._logs:
                    what = f"nothing about {self._model!r}" if self._model else "nothing"
                    click.echo(f"{what} in {log.path}", err=True)
            return
        wait = _POLL if len(self._logs) == 1 and not self._model else _TURN
        while True:
            if self._model:
                self._events()
            for log in self._logs:
                self._log(log, wait=wait)
                self._note(log)
            if not self._logs or all(log.failed for log in self._logs):
                time.sleep(_PAUSE)

    def _log(self, log: Followed, *, wait: float) -> int:
        from overbook.cli.following import read

        first = not log.after
        # What a model prints goes into files and pipes as it is.
        terminal = sys.stdout.isatty()
        found, missed = read(self._client, log, lines=self._lines, model=self._model, wait=wait)
        if log.failed:
            return 0
        if first and terminal:
            click.secho(f"{log.name}: {log.path}", err=True, dim=True)
        if missed:
            click.echo(f"{log.name}: lines before these are not kept any more", err=True)
        before = f"{log.name} | " if len(self._logs) > 1 else ""
        for line in found:
            click.echo(before + (safe(line) if terminal else line), color=True)
        return len(found)

    def _note(self, log: Followed) -> None:
        """Why a log cannot be read now; once, until it is another reason."""
        if log.failed and self._said.get(log.name) != log.failed:
            click.echo(safe(f"{log.name}: {log.failed}"), err=True)
        self._said[log.name] = log.failed

    def _events(self) -> int:
        from overbook.cli.event_lines import event_line

        first = not self._last_event
        page = self._client.events(after=self._last_event, model=self._model)
        self._last_event = page.last
        found = page.events[max(0, len(page.events) - self._lines) :] if first else page.events
        for event in found:
            click.echo(event_line(event, width=terminal_width(), colour=coloured()))
        return len(found)
