"""One model or server in full: its spec, its replicas, why it is where it is, and what happened to it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from overbook.cli.reading import (
    at,
    condition,
    moment,
    name_of,
    number,
    objects,
    replicas,
    text,
)
from overbook.cli.rows import SERVER_COLUMNS, replica_name, server_rows
from overbook.cli.tables import Column, table
from overbook.cli.words import ago, plural, size
from overbook.client.http import Json, JsonObject

_LABEL: Final = 14
_REPLICA_COLUMNS: Final = (
    Column("REPLICA"),
    Column("STATE"),
    Column("DECLARED", right=True),
    Column("MEASURED", right=True),
    Column("CHARGED", right=True),
    Column("LAST USED", right=True),
    Column("BUSY", right=True),
    Column("LOADS", right=True),
    Column("EVICTED", right=True),
)
# Messages stand last and whole: a description that hides its reasons describes nothing.
_EVENT_COLUMNS: Final = (
    Column("AGO", right=True),
    Column("TYPE"),
    Column("REASON"),
    Column("REPLICA"),
    Column("MESSAGE"),
)


def describe_model(model: JsonObject, *, now: float) -> str:
    """The whole text. `now` in Unix seconds."""
    found = condition(model)
    lines = [*_head(model), *_spec(model)]
    since = moment(found.since)
    lines.append(
        _field("Ready", f"{found.status}, for {ago(since, now)[:-4]}" if since else found.status)
    )
    lines.append(
        _field("Reason", f"{found.reason}: {found.message}" if found.message else found.reason)
    )
    parts = replicas(model)
    lines += ["", "Replicas"]
    if parts:
        lines.append(table(_REPLICA_COLUMNS, [_replica(part, now) for part in parts]))
        for part in parts:
            if error := text(part.get("lastError")):
                lines.append(f"{replica_name(part)}: {' '.join(error.split())}")
    else:
        lines.append("none: the model is assigned to no server replica")
    lines += ["", "Placement", *_verdict(model.get("verdict"))]
    lines += ["", "Events", _events(model, now)]
    return "\n".join(lines)


def describe_server(server: JsonObject, *, now: float) -> str:
    """The whole text. `now` in Unix seconds."""
    lines = [*_head(server), *_spec(server), "", "Replicas"]
    lines.append(table(SERVER_COLUMNS, server_rows(server)))
    for part in replicas(server):
        pid, base = number(part.get("pid")), number(at(part, "bytes", "base"))
        details = [
            f"REST {text(at(part, 'address', 'rest')) or '-'}",
            f"gRPC {text(at(part, 'address', 'grpc')) or '-'}",
            f"process {pid if pid else '-'}",
            f"{size(base)} without models",
        ]
        lines.append(f"{name_of(server)}/{part.get('replica')}: {', '.join(details)}")
    for each in objects(at(server, "status", "conditions")):
        message = text(each.get("message"))
        if each.get("status") != "True" and message:
            lines.append(f"{text(each.get('type'))}: {text(each.get('reason'))}: {message}")
    if server.get("verdict"):
        lines += ["", "Placement", *_verdict(server.get("verdict"))]
    lines += ["", "Events", _events(server, now)]
    return "\n".join(lines)


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


def _head(thing: JsonObject) -> Iterator[str]:
    yield _field("Name", name_of(thing))
    yield _field("Kind", f"{text(thing.get('kind'))}, {text(thing.get('apiVersion'))}")
    yield _field("Generation", str(number(at(thing, "metadata", "generation")) or "-"))


def _spec(thing: JsonObject) -> Iterator[str]:
    """The spec's fields as the user wrote them, so that nothing given is hidden."""
    spec = thing.get("spec")
    if isinstance(spec, dict):
        for name, value in spec.items():
            yield _field(name, _plain(value))


def _plain(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_plain(each)}" for name, each in value.items())
    return "-" if value is None else str(value)


def _field(label: str, value: str) -> str:
    return f"{label + ':':<{_LABEL}} {value}".rstrip()


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
    """Every server replica, chosen or refused, with the numbers; and the whole in a line when there is one."""
    decisions: Sequence[JsonObject]
    if isinstance(verdict, dict):
        wanted, needed = number(verdict.get("wanted")), number(verdict.get("size"))
        if wanted is not None and needed is not None:
            yield f"wanted: {plural(wanted, 'replica')} with room for {size(needed)}"
        if reason := text(verdict.get("reason")):
            yield " ".join(reason.split())
        decisions = objects(verdict.get("decisions")) or objects(verdict.get("replicas"))
    else:
        decisions = objects(verdict)
    if not decisions:
        yield "no server replica was looked at; apply a Server, or start an agent"
        return
    widest = max(len(_place(each)) for each in decisions)
    for each in decisions:
        chosen = "chosen" if each.get("chosen") is True else "refused"
        yield f"{_place(each):<{widest}}  {chosen}: {' '.join(text(each.get('reason')).split())}"
        yield f"{'':<{widest}}  {_figures(each)}"


def _place(decision: JsonObject) -> str:
    place = decision.get("replica")
    return place if isinstance(place, str) else replica_name(decision)


def _figures(decision: JsonObject) -> str:
    """The numbers that the decision rests on, without the model itself."""
    numbers = decision.get("numbers")
    figures = {**decision, **numbers} if isinstance(numbers, dict) else decision
    known = [
        f"{name} {size(count)}"
        for name in ("registered", "limit", "budget")
        if (count := number(figures.get(name))) is not None
    ]
    models = number(figures.get("models"))
    return ", ".join(known if models is None else [*known, plural(models, "model")])


def _events(thing: JsonObject, now: float) -> str:
    events = objects(thing.get("events"))
    if not events:
        return "none"
    return table(_EVENT_COLUMNS, [_event(each, now) for each in events])
