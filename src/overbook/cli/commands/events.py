"""`overbook events`: what happened, and with -w what is happening; with --audit, who changed what."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final, Literal

import click

from overbook.cli.options import api_url_option
from overbook.client.http import JsonObject

if TYPE_CHECKING:
    from overbook.client.control import ControlClient, EventPage

# One long poll; the server answers earlier when something happens.
_POLL: Final = 20.0


def _since(text: str) -> float:
    """Unix seconds. The type of an option."""
    from datetime import datetime

    from overbook.manifests.durations import parse_seconds

    try:
        return time.time() - parse_seconds(text)
    except ValueError:
        pass
    try:
        # Without a zone: as the clock here shows it.
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is no time; expected how long ago, such as 2h or 7d, or a time such as 2026-11-30T20:15"
        ) from None


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Keep showing new events until Ctrl-C.")
@click.option("--model", metavar="NAME", help="Only events of this model.")
@click.option(
    "--audit",
    is_flag=True,
    help="Who changed what by the control API, from where, with what outcome, and who was refused; over restarts. "
    "For administrators.",
)
@click.option(
    "--since",
    type=_since,
    metavar="TIME",
    help="Only what happened since: how long ago, such as 2h or 7d, or a time such as 2026-11-30T20:15.",
)
@click.option(
    "--after",
    type=click.IntRange(0),
    metavar="SEQ",
    help="Only events after this number.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)
@api_url_option
def events(
    watch: bool,
    model: str | None,
    audit: bool,
    since: float | None,
    after: int | None,
    output: Literal["table", "json"],
    api_url: str,
) -> None:
    """Show what happened: loads, evictions, failures, placements.

    \b
    overbook events
    overbook events -w --model iris
    overbook events --audit --since 7d
    """
    from overbook.client.control import ControlClient

    with ControlClient(api_url) as client:
        try:
            if audit:
                _show_audit(client, _Audit(model, since, after), output, watch=watch)
            else:
                _show_events(client, model, since, after or 0, output, watch=watch)
        except KeyboardInterrupt:
            if not watch:
                raise
            # The way to end a watch: not a failure.


def _show_events(
    client: ControlClient,
    model: str | None,
    since: float | None,
    after: int,
    output: Literal["table", "json"],
    *,
    watch: bool,
) -> None:
    page = client.events(after=after, model=model)
    found = tuple(each for each in page.events if since is None or _time(each) >= since)
    _show(found, output)
    if not found and not watch:
        click.echo("no events", err=True)
    while watch:
        page = client.events(after=page.last, wait=_POLL, model=model)
        _show(page.events, output)


def _show(found: tuple[JsonObject, ...], output: Literal["table", "json"]) -> None:
    from overbook.cli.event_lines import event_line
    from overbook.cli.terminal import coloured, terminal_width

    width, colour = terminal_width(), coloured()
    for event in found:
        if output == "json":
            _print(event)
        else:
            click.echo(event_line(event, width=width, colour=colour))


class _Audit:
    """What of the audit log was asked for, page by page."""

    def __init__(self, model: str | None, since: float | None, after: int | None) -> None:
        self._model = model
        self._after = after
        self._since = ""
        if since is not None:
            from datetime import UTC, datetime

            self._since = datetime.fromtimestamp(since, UTC).isoformat()

    @property
    def paged(self) -> bool:
        """Whether there may be more than one answer has."""
        return self._after is not None or bool(self._since)

    def next(self, client: ControlClient, wait: float = 0.0) -> EventPage:
        page = client.audit(after=self._after, since=self._since, model=self._model, wait=wait)
        self._after = page.last
        return page


def _show_audit(
    client: ControlClient, asked: _Audit, output: Literal["table", "json"], *, watch: bool
) -> None:
    from overbook.cli.audit_rows import COLUMNS, audit_rows
    from overbook.cli.tables import Layout
    from overbook.cli.terminal import coloured, terminal_width

    paged = asked.paged
    page = asked.next(client)
    if not page.events and not watch:
        click.echo("no entries", err=True)
        return
    layout: Layout | None = None
    while True:
        if output == "json":
            for each in page.events:
                _print(each)
        elif page.events:
            rows = [row for each in page.events for row in audit_rows(each)]
            if layout is None:
                layout = Layout(COLUMNS, rows, width=terminal_width(), colour=coloured())
                click.echo(layout.header)
            for row in rows:
                click.echo(layout.row(row))
        if not watch and (not paged or not page.events):
            return
        page = asked.next(client, _POLL if watch else 0.0)


def _print(event: JsonObject) -> None:
    from overbook.cli.terminal import safe_json

    click.echo(safe_json(json.dumps(event, ensure_ascii=False)))


def _time(event: JsonObject) -> float:
    from overbook.cli.reading import moment

    return moment(event.get("time")) or 0.0
