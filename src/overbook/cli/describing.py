"""One model or server in full: its spec, its replicas, why it is where it is, and what happened to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import click

from overbook.artifacts.address import is_remote
from overbook.cli.fetching import disk_told, files_of
from overbook.cli.reading import (
    Condition,
    at,
    condition,
    moment,
    name_of,
    number,
    objects,
    replicas,
    text,
)
from overbook.cli.rows import SERVER_COLUMNS, colour_of, replica_name, server_rows
from overbook.cli.tables import Column, table
from overbook.cli.terminal import UNLIMITED, folded, safe
from overbook.cli.words import ago, plural, size, span
from overbook.client.http import Json, JsonObject
from overbook.manifests.specs import EVICTION_POLICIES

_LABEL: Final = 14
# `Ready:         True`: where the value begins.
_FIELD: Final = re.compile(r"\w+: {2,}|\w{13,}: ", re.ASCII)
Field: TypeAlias = tuple[str, str]
_NAMES: Final = 30
_SECTIONS: Final = ("Replicas", "Placement", "Models", "Events")
_REPLICA_COLUMNS: Final = (
    Column("REPLICA"),
    Column("STATE", colour=colour_of),
    Column("DECLARED", right=True),
    Column("MEASURED", right=True),
    Column("CHARGED", right=True),
    Column("USED", right=True),
    Column("BUSY", right=True),
    Column("LOADS", right=True),
    Column("EVICTED", right=True),
)
# Messages stand last and whole: a description that hides its reasons describes nothing.
_EVENT_COLUMNS: Final = (
    Column("AGO", right=True),
    Column("TYPE", colour=lambda cell: "yellow" if cell == "Warning" else ""),
    Column("REASON"),
    Column("REPLICA", spare=1),
    Column("MESSAGE", folds=True),
)


@dataclass(frozen=True, slots=True)
class Page:
    """What it is written on: so many columns, with colour or without. `now` in Unix seconds."""

    now: float
    width: int = UNLIMITED
    colour: bool = False

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
        return table(columns, rows, width=self.width, colour=self.colour)

    def text(self, lines: Iterable[str]) -> str:
        """All lines, folded where they are too long; tables are as they should be already."""
        return "\n".join(piece for line in lines for piece in self._pieces(line))

    def _pieces(self, line: str) -> list[str]:
        if "\n" in line or "\x1b" in line:
            return [line]
        if self.colour and line in _SECTIONS:
            return [click.style(line, bold=True)]
        label = _FIELD.match(line)
        indent = 2 + len(line) - len(line.lstrip()) if label is None else label.end()
        pieces = folded(line, self.width, indent)
        if self.colour and label is not None and line.startswith("Ready:"):
            status = line[indent:].partition(",")[0]
            pieces[0] = pieces[0].replace(status, click.style(status, fg=colour_of(status) or None))
        return pieces


def describe_model(model: JsonObject, page: Page) -> str:
    """The whole text."""
    now = page.now
    lines = _fields(*_head(model), *_spec(model), *_source(model), *_ready(condition(model), now))
    parts = replicas(model)
    lines += ["", "Replicas"]
    if parts:
        lines.append(page.table(_REPLICA_COLUMNS, [_replica(part, now) for part in parts]))
        for part in parts:
            lines.append(f"{replica_name(part)}: files: {files_of(model, part)}")
            if error := text(part.get("lastError")):
                more = f"(more: overbook logs model/{name_of(model)})"
                lines.append(f"{replica_name(part)}: {' '.join(error.split())} {more}")
            elif doubt := text(part.get("unverified")):
                lines.append(f"{replica_name(part)}: unverified: {doubt}")
            warnings = part.get("warnings")
            for warning in warnings if isinstance(warnings, list) else []:
                lines.append(f"{replica_name(part)}: warning: {text(warning)}")
    else:
        lines.append("none: the model is assigned to no server replica")
    lines += ["", "Placement", *_verdict(model.get("verdict"))]
    lines += ["", "Events", _events(model, page)]
    return page.text(lines)


def describe_server(server: JsonObject, page: Page) -> str:
    """The whole text."""
    ready = _ready(condition(server, "Ready"), page.now)
    lines = _fields(*_head(server), *_spec(server), *_defaults(server), *ready)
    lines += ["", "Replicas"]
    lines.append(page.table(SERVER_COLUMNS, server_rows(server)))
    for part in replicas(server):
        pid, base = number(part.get("pid")), number(at(part, "bytes", "base"))
        details = [
            f"REST {text(at(part, 'address', 'rest')) or '-'}",
            f"gRPC {text(at(part, 'address', 'grpc')) or '-'}",
            f"process {pid if pid else '-'}",
            f"{size(base)} without models",
        ]
        lines.append(f"{name_of(server)}/{part.get('replica')}: {', '.join(details)}")
        if held := _held_in(text(at(part, "address", "rest"))):
            lines.append(f"{name_of(server)}/{part.get('replica')}: {held}")
        if disk := disk_told(part):
            lines.append(f"{name_of(server)}/{part.get('replica')}: files: {disk}")
        if foreign := [_foreign(each) for each in objects(part.get("foreignModels"))]:
            lines.append(
                f"{name_of(server)}/{part.get('replica')}: not Overbook's: {', '.join(foreign)}"
            )
    lines += ["", "Models", *_models_on(server)]
    lines += ["", "Events", _events(server, page)]
    return page.text(lines)


def _held_in(address: str) -> str:
    """Who reaches the server, and what its models' code may do; "" while there is none."""
    if not address:
        return ""
    if not address.startswith("unix:"):
        return (
            f"open: somebody else started it, and does as it is told by whoever reaches {address}"
        )
    return (
        "held in: nobody but Overbook's user reaches it, no new privileges, none of the environment's secrets; "
        "not held from that user's files, nor from the network"
    )


def _foreign(model: JsonObject) -> str:
    """A model that its owner loaded: `theirs (ready, 30Mi)`."""
    known = number(model.get("bytes"))
    size_ = "" if known is None else f", {size(known)}"
    return f"{text(model.get('name'))} ({text(model.get('state'))}{size_})"


def _event(event: JsonObject, now: float) -> tuple[str, ...]:
    """One event, with its age."""
    then = moment(event.get("time"))
    replica = event.get("replica")
    return (
        ago(then, now).removesuffix(" ago"),
        text(event.get("type")),
        text(event.get("reason")),
        str(replica) if isinstance(replica, str | int) and replica != "" else "-",
        " ".join(text(event.get("message")).split()),
    )


def _ready(found: Condition, now: float) -> Iterator[Field]:
    since = moment(found.since)
    yield "Ready", found.status if since is None else f"{found.status}, for {span(now - since)}"
    said = ": ".join(each for each in (found.reason, found.message) if each)
    yield "Reason", " ".join(said.split()) or "-"


def _models_on(server: JsonObject) -> Iterator[str]:
    """Which models each replica is assigned; of thousands, the first."""
    if not replicas(server):
        yield "none: the server has no replica"
    for each in objects(server.get("verdict")):
        models = each.get("models")
        names = [text(name) for name in models] if isinstance(models, list) else []
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        listed = f"{', '.join(names[:_NAMES])}{more}" if names else "none"
        room = f" of at most {size(number(each.get('limit')))} in all"
        yield f"{name_of(server)}/{each.get('replica')}: {plural(len(names), 'model')}{room}: {listed}"


def _head(thing: JsonObject) -> Iterator[Field]:
    yield "Name", name_of(thing)
    yield "Kind", f"{text(thing.get('kind'))}, {text(thing.get('apiVersion'))}"
    yield "Generation", str(number(at(thing, "metadata", "generation")) or "-")


def _spec(thing: JsonObject) -> Iterator[Field]:
    """The spec's fields as the user wrote them, so that nothing given is hidden."""
    spec = thing.get("spec")
    if isinstance(spec, dict):
        for name, value in spec.items():
            yield safe(name), _plain(value)


def _source(model: JsonObject) -> Iterator[Field]:
    """How files from elsewhere are come by, where the spec does not say."""
    if not is_remote(text(at(model, "spec", "storageUri"))):
        return
    if at(model, "spec", "secretName") is None:
        yield "secretName", "none: as the machine itself, or as anybody (the default)"
    if at(model, "spec", "refresh") is None:
        yield "refresh", "never: only an apply asks for changes (the default)"


def _defaults(server: JsonObject) -> Iterator[Field]:
    """In which order models leave its memory, and which calls it allows, where the spec does not say."""
    if at(server, "spec", "evictionPolicy") is None:
        yield "evictionPolicy", f"{EVICTION_POLICIES[0]} (the default)"
    if at(server, "spec", "allow") is None:
        yield "allow", "nothing (the default)"


def _plain(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_plain(each)}" for name, each in value.items())
    return "-" if value is None else safe(str(value))


def _fields(*fields: Field) -> list[str]:
    """Labels and values, below each other."""
    widest = max(_LABEL, *(len(label) + 1 for label, _ in fields))
    return [f"{label + ':':<{widest}} {value}".rstrip() for label, value in fields]


def _replica(part: JsonObject, now: float) -> tuple[str, ...]:
    return (
        replica_name(part),
        text(part.get("state")) or "unknown",
        size(number(at(part, "bytes", "declared"))),
        size(number(at(part, "bytes", "measured"))),
        size(number(at(part, "bytes", "charged"))),
        ago(moment(part.get("lastUsed")), now),
        str(number(part.get("inFlight")) or 0),
        str(number(part.get("loads")) or 0),
        str(number(part.get("evictions")) or 0),
    )


def _verdict(verdict: Json) -> Iterator[str]:
    """The whole in a line when there is one, and every server replica, chosen or refused, with its numbers."""
    wanted, needed = number(at(verdict, "wanted")), number(at(verdict, "bytes"))
    if wanted is not None and needed is not None:
        yield f"wanted: {plural(wanted, 'replica')} with room for {size(needed)}"
    if reason := text(at(verdict, "reason")):
        yield " ".join(reason.split())
    decisions = objects(at(verdict, "replicas"))
    if not decisions:
        yield "there is no server replica to place it on; apply a Server, or start an agent"
        return
    widest = max(len(replica_name(each)) for each in decisions)
    for each in decisions:
        chosen = "chosen" if each.get("chosen") is True else "refused"
        yield f"{replica_name(each):<{widest}}  {chosen}: {' '.join(text(each.get('reason')).split())}"
        yield f"{'':<{widest}}  {_figures(each)}"


def _figures(decision: JsonObject) -> str:
    """The numbers that the decision rests on, without the model itself."""
    known = [
        f"{name} {size(count)}"
        for name in ("registered", "limit", "budget")
        if (count := number(at(decision, "bytes", name))) is not None
    ]
    models = number(decision.get("models"))
    return ", ".join(known if models is None else [*known, plural(models, "model")])


def _events(thing: JsonObject, page: Page) -> str:
    events = objects(thing.get("events"))
    if not events:
        return "none"
    return page.table(_EVENT_COLUMNS, [_event(each, page.now) for each in events])
