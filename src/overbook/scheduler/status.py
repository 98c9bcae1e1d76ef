"""Models and Servers as the JSON that others read. Pure: records in, text out.

Text, not dictionaries: a list of 10,000 models is asked for by people who wait, and the spec is text
already. The names and their order are a contract (docs/architecture.md); times are RFC 3339.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

from overbook.placement import Decision, ReplicaId, Verdict
from overbook.scheduler.conditions import is_final
from overbook.scheduler.events import Event
from overbook.scheduler.records import Condition, Model, Replica, Server
from overbook.wire.common_pb2 import ModelState

_STATES: Final[dict[int, str]] = {
    number: name.lower() for name, number in ModelState.items() if number
}
_NO_STATE: Final = "cold"


def moment(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def model_json(model: Model, replicas: Mapping[ReplicaId, Replica]) -> str:
    """One Model, as `get` shows it."""
    seats = ",".join(_seat(model, each, replicas.get(each)) for each in sorted(model.seats))
    return (
        f'{{"apiVersion":{quoted(model.api_version)},"kind":"Model",'
        f'"metadata":{_metadata(model.name, model.generation, model.metadata)},'
        f'"spec":{model.spec},'
        f'"status":{{"conditions":{_conditions("ModelReady", model.condition)},'
        f'"final":{_truth(is_final(model, replicas))},"replicas":[{seats}]}}}}'
    )


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _seat(model: Model, seat: ReplicaId, replica: Replica | None) -> str:
    report = None if replica is None else replica.reports.get(model.name)
    declared = model.needs.memory if report is None else report.declared
    where = f'{{"server":{quoted(seat.server)},"replica":{seat.replica},'
    if report is None:
        return (
            f'{where}"state":"{_NO_STATE}",'
            f'"bytes":{{"declared":{_number(declared)},"measured":null,"charged":0}},'
            '"lastUsed":null,"inFlight":0,"loads":0,"evictions":0,"lastError":null,"unverified":null,"warnings":[]}'
        )
    warnings = ",".join(map(quoted, report.warnings))
    used = f'"{moment(report.last_used)}"' if report.last_used else "null"
    error = quoted(report.last_error) if report.last_error else "null"
    return (
        f'{where}"state":"{_STATES.get(report.state, _NO_STATE)}",'
        f'"bytes":{{"declared":{_number(declared)},"measured":{_number(report.measured)},"charged":{report.charged}}},'
        f'"lastUsed":{used},"inFlight":{report.in_flight},"loads":{report.loads},'
        f'"evictions":{report.evictions},"lastError":{error},"unverified":{_text(report.unverified)},'
        f'"warnings":[{warnings}]}}'
    )


def server_json(server: Server, replicas: Sequence[Replica]) -> str:
    """One Server, as `get` shows it, with its replicas in order."""
    each = ",".join(_replica(replica) for replica in replicas)
    return (
        f'{{"apiVersion":{quoted(server.api_version)},"kind":"Server",'
        f'"metadata":{_metadata(server.name, server.generation, server.metadata)},'
        f'"spec":{server.spec},'
        f'"status":{{"conditions":{_conditions("Ready", server.condition)},'
        f'"replicas":[{each}]}}}}'
    )


def _replica(replica: Replica) -> str:
    said = replica.server_report
    state = said.state if replica.connected else "disconnected"
    foreign = ",".join(
        f'{{"name":{quoted(each.name)},"state":{quoted(each.state)},"bytes":{_number(each.bytes)}}}'
        for each in said.foreign
    )
    return (
        f'{{"replica":{replica.id.replica},"state":{quoted(state)},'
        f'"address":{{"rest":{_text(said.rest)},"grpc":{_text(said.grpc)}}},'
        f'"pid":{said.pid or "null"},'
        f'"bytes":{{"budget":{replica.budget},"registered":{replica.registered},'
        f'"resident":{said.resident},"process":{_number(said.process)},"base":{_number(said.base)}}},'
        f'"models":{{"registered":{len(replica.models)},"resident":{said.resident_models}}},'
        f'"foreignModels":[{foreign}]}}'
    )


def _metadata(name: str, generation: int, extra: str) -> str:
    more = f",{extra[1:-1]}" if extra else ""
    return f'{{"name":{quoted(name)},"generation":{generation}{more}}}'


def _conditions(kind: str, condition: Condition | None) -> str:
    if condition is None:
        return "[]"
    return (
        f'[{{"type":"{kind}","status":"{condition.status}","reason":{quoted(condition.reason)},'
        f'"message":{quoted(condition.message)},'
        f'"lastTransitionTime":"{moment(condition.since)}"}}]'
    )


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)


def _text(value: str) -> str:
    return quoted(value) if value else "null"


def verdict_object(verdict: Verdict) -> dict[str, object]:
    """A placement verdict for `describe`: every replica, chosen or refused, in numbers."""
    return {
        "model": verdict.model,
        "bytes": verdict.size,
        "wanted": verdict.wanted,
        "needed": verdict.needed,
        "placed": verdict.placed,
        "reason": verdict.reason,
        "replicas": [_decision(each) for each in verdict.decisions],
    }


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "server": decision.replica.server,
        "replica": decision.replica.replica,
        "chosen": decision.chosen,
        "rule": None if decision.rule is None else decision.rule.value,
        "reason": decision.reason,
        "bytes": {
            "registered": decision.registered,
            "limit": decision.limit,
            "budget": decision.budget,
        },
        "models": decision.models,
    }


def event_object(event: Event) -> dict[str, object]:
    return {
        "seq": event.seq,
        "time": moment(event.time),
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "kind": event.kind,
        "name": event.name,
        "replica": event.replica,
        "message": event.message,
    }
