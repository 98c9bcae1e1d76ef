"""One event in a line, as `events` and `logs` show it. Pure, but for the time zone."""

from __future__ import annotations

from datetime import datetime

import click

from overbook.cli.reading import moment, text
from overbook.cli.terminal import UNLIMITED, folded
from overbook.client.http import JsonObject


def event_line(event: JsonObject, *, width: int = UNLIMITED, colour: bool = False) -> str:
    """In columns that stay put from line to line, as more come in; folded where it is wider than that."""
    then = moment(event.get("time"))
    clock = "--:--:--" if then is None else datetime.fromtimestamp(then).strftime("%H:%M:%S")
    thing = f"{text(event.get('kind')).lower()}/{text(event.get('name'))}"
    replica = event.get("replica")
    where = f" on {replica}" if isinstance(replica, str) and replica else ""
    message = " ".join(text(event.get("message")).split())
    kind = text(event.get("type"))
    line = f"{clock}  {kind:<7}  {text(event.get('reason')):<16}  {thing}{where}: {message}"
    lines = folded(line, width, len(clock) + 2)
    if colour and kind == "Warning":
        lines[0] = lines[0].replace("Warning", click.style("Warning", fg="yellow"), 1)
    return "\n".join(lines)
