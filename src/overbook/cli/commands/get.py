"""`overbook get`: models or servers, as a table or for programs, once or as they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import click

from overbook.cli.options import Kind, api_url_option, parse_kind
from overbook.client.http import JsonObject

if TYPE_CHECKING:
    from overbook.cli.showing import Output, Tables
    from overbook.client.control import ControlClient

# A change of status may come without an event: a watch asks again after this many seconds at the latest.
_RECHECK: Final = 1.0
_PAUSE: Final = 0.1


@click.command()
@click.argument("kind", type=parse_kind, metavar="KIND")
@click.argument("name", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml", "name", "manifest"]),
    default="table",
    show_default=True,
    help="wide: more columns. json and yaml are stable, for programs. manifest: what apply takes.",
)
@click.option(
    "--sort",
    "by",
    metavar="COLUMN",
    help="Models by name, ready, state, server, memory, used, pinned, priority, busy, loads, evicted or "
    "reason; servers by name, state, models, resident, registered, budget or process.",
)
@click.option("-r", "--reverse", is_flag=True, help="Reverse the order, as in --sort memory -r.")
@click.option(
    "-w", "--watch", is_flag=True, help="Keep running, and show what changes, until Ctrl-C."
)
@api_url_option
def get(
    kind: Kind,
    name: str | None,
    output: Output,
    by: str | None,
    reverse: bool,
    watch: bool,
    api_url: str,
) -> None:
    """List models or servers, or one of them.

    MEMORY is what a model takes when it is in memory: measured where that is known, else as
    declared; a dash where it is not known yet. LAST REASON (-o wide) is why a model is not ready,
    or else what happened to it last.

    \b
    overbook get models
    overbook get models -o wide --sort memory -r
    overbook get model iris -o manifest
    overbook get servers -o json
    overbook get models -w
    """
    from overbook.client.control import ControlClient

    if by is not None:
        by = _column(kind, by)
    elif reverse:
        by = "name"
    with ControlClient(api_url) as client:
        if watch:
            _watch(client, kind, name, output, lambda found: _ordered(kind, found, by, reverse))
            return
        found = client.list(kind) if name is None else (client.get(kind, name),)
        found = _ordered(kind, found, by, reverse)
        _show(client, kind, name, found, output)


def _column(kind: Kind, given: str) -> str:
    from overbook.cli.sorting import KEYS

    wanted = given.lower().replace(" ", "-").replace("_", "-")
    if wanted not in KEYS[kind]:
        raise click.BadParameter(
            f"{given!r} is not a column of {kind}s; expected one of: {', '.join(KEYS[kind])}",
            param_hint="--sort",
        )
    return wanted


def _ordered(
    kind: Kind, found: Sequence[JsonObject], by: str | None, reverse: bool
) -> tuple[JsonObject, ...]:
    if by is None:
        return tuple(found)
    from overbook.cli.sorting import ordered

    return tuple(ordered(kind, found, by, reverse=reverse))


def _show(
    client: ControlClient,
    kind: Kind,
    name: str | None,
    found: Sequence[JsonObject],
    output: Output,
) -> None:
    from overbook.cli.showing import Tables, dumped, latest_events, manifest, yaml_text

    if output in ("json", "yaml"):
        click.echo(dumped(list(found) if name is None else found[0], output))
    elif output == "manifest":
        click.echo("\n---\n".join(yaml_text(manifest(each)) for each in found))
    elif output == "name":
        for each in found:
            click.echo(_name(kind, each))
    elif not found:
        click.echo(f"no {kind}s; apply one with `overbook apply -f FILE`", err=True)
    else:
        wide = output == "wide"
        lasts = latest_events(client.events().events) if wide and kind == "model" else {}
        tables = Tables(kind, wide=wide)
        tables.show(tables.rows(found, lasts))


def _watch(
    client: ControlClient,
    kind: Kind,
    name: str | None,
    output: Output,
    order: Callable[[Sequence[JsonObject]], Sequence[JsonObject]],
) -> None:
    """Each object that changed, again; what is there no more is said once."""
    from overbook.cli.reading import name_of
    from overbook.cli.showing import Tables, latest_events

    tables = Tables(kind, wide=output == "wide")
    known: dict[str, object] = {}
    lasts: dict[str, JsonObject] = {}
    last = 0
    try:
        while True:
            began = time.monotonic()
            page = client.events(after=last, wait=_RECHECK if known else 0.0)
            last = page.last
            lasts |= latest_events(page.events)
            found = order(_found(client, kind, name))
            current = {
                name_of(each): tables.unchanging(tables.rows([each], lasts)) for each in found
            }
            changed = [each for each in found if known.get(name_of(each)) != current[name_of(each)]]
            gone = [each for each in known if each not in current]
            _print(tables, kind, changed, gone, output, lasts)
            known = dict(current)
            # Under a stream of events, asking takes at most half of the time.
            time.sleep(max(_PAUSE, time.monotonic() - began if page.events else 0.0))
    except KeyboardInterrupt:
        # The way to end a watch: not a failure.
        return


def _found(client: ControlClient, kind: Kind, name: str | None) -> Sequence[JsonObject]:
    from overbook.cli.reading import name_of

    if name is None:
        return client.list(kind)
    return [each for each in client.list(kind) if name_of(each) == name]


def _print(
    tables: Tables,
    kind: Kind,
    changed: Sequence[JsonObject],
    gone: Sequence[str],
    output: Output,
    lasts: dict[str, JsonObject],
) -> None:
    from overbook.cli.showing import manifest, one_line, yaml_text

    if output in ("table", "wide"):
        if changed:
            tables.show(tables.rows(changed, lasts))
        for each in gone:
            tables.farewell(each)
        return
    for thing in changed:
        match output:
            case "json":
                click.echo(one_line(thing))
            case "name":
                click.echo(_name(kind, thing))
            case "yaml":
                click.echo(f"---\n{yaml_text(thing)}")
            case _:
                click.echo(f"---\n{yaml_text(manifest(thing))}")
    for each in gone:
        click.echo(f"{kind}/{each} deleted", err=True)


def _name(kind: Kind, thing: JsonObject) -> str:
    from overbook.cli.reading import name_of

    return f"{kind}/{name_of(thing)}"
