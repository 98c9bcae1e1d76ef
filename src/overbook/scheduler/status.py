"""Models, Servers, verdicts and events as the JSON that others read (`bodies`). Pure: records in, objects out.

Times are RFC 3339. An object is a dictionary of its own, so that it may be added to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic_core import from_json

from overbook.artifacts.transfer import Transferred
from overbook.placement import Decision, ReplicaId, Verdict
from overbook.scheduler import bodies
from overbook.scheduler.amounts import DiskBytes, FileTransfer
from overbook.scheduler.conditions import is_final
from overbook.scheduler.events import Event
from overbook.scheduler.records import Condition, DiskUsage, Model, Replica, Server
from overbook.wire import common_pb2

_EPOCH: Final = datetime(1970, 1, 1)
_STATES: Final[Mapping[int, bodies.State]] = {
    common_pb2.COLD: "cold",
    common_pb2.LOADING: "loading",
    common_pb2.RESIDENT: "resident",
    common_pb2.DRAINING: "draining",
    common_pb2.UNLOADING: "unloading",
    common_pb2.FAILED: "failed",
}


def moment(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC with milliseconds."""
    # Without a zone, which takes longer to write: a long list of models consists of times for a good part.
    return (_EPOCH + timedelta(seconds=seconds)).isoformat("T", "milliseconds") + "Z"


def model_object(model: Model, replicas: Mapping[ReplicaId, Replica]) -> bodies.ModelObject:
    """One Model, as `get` shows it."""
    condition = model.condition
    return {
        "apiVersion": model.api_version,
        "kind": "Model",
        "metadata": _metadata(model.name, model.generation, model.metadata),
        "spec": _parsed(model.spec),
        "status": {
            "conditions": [] if condition is None else [_model_condition(condition)],
            "final": is_final(model, replicas),
            "replicas": [_seat(model, each, replicas.get(each)) for each in sorted(model.seats)],
        },
    }


def _model_condition(condition: Condition) -> bodies.ModelCondition:
    return {
        "type": "ModelReady",
        "status": _status(condition),
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": moment(condition.since),
    }


def _seat(model: Model, seat: ReplicaId, replica: Replica | None) -> bodies.ModelReplica:
    report = None if replica is None else replica.reports.get(model.name)
    if report is None:
        return {
            "server": seat.server,
            "replica": seat.replica,
            "state": "cold",
            "bytes": {"declared": model.needs.memory, "measured": None, "charged": 0},
            "lastUsed": None,
            "inFlight": 0,
            "loads": 0,
            "evictions": 0,
            "lastError": None,
            "retryAt": None,
            "unverified": None,
            "warnings": [],
            "filesOnDisk": False,
            "transfer": None,
        }
    return {
        "server": seat.server,
        "replica": seat.replica,
        "state": _STATES.get(report.state, "cold"),
        "bytes": {
            "declared": report.declared,
            "measured": report.measured,
            "charged": report.charged,
        },
        "lastUsed": moment(report.last_used) if report.last_used else None,
        "inFlight": report.in_flight,
        "loads": report.loads,
        "evictions": report.evictions,
        "lastError": report.last_error or None,
        "retryAt": moment(report.retry_at) if report.retry_at else None,
        "unverified": report.unverified or None,
        "warnings": list(report.warnings),
        "filesOnDisk": report.files_here,
        # Of an agent that is away nobody knows how far it is.
        "transfer": _transfer(report.transfer)
        if replica is not None and replica.connected
        else None,
    }


def _transfer(transfer: Transferred | None) -> FileTransfer | None:
    if transfer is None:
        return None
    return {
        "done": transfer.done,
        "total": transfer.total,
        "bytesPerSecond": transfer.rate,
        "secondsLeft": transfer.left,
    }


def model_description(
    model: Model,
    replicas: Mapping[ReplicaId, Replica],
    verdict: Verdict,
    events: Sequence[Event],
) -> bodies.ModelDescription:
    """One Model, as `describe` shows it."""
    return {
        **model_object(model, replicas),
        "verdict": verdict_object(verdict),
        "events": [event_object(each) for each in events],
    }


def server_object(server: Server, replicas: Sequence[Replica]) -> bodies.ServerObject:
    """One Server, as `get` shows it, with its replicas in order."""
    condition = server.condition
    return {
        "apiVersion": server.api_version,
        "kind": "Server",
        "metadata": _metadata(server.name, server.generation, server.metadata),
        "spec": _parsed(server.spec),
        "status": {
            "conditions": [] if condition is None else [_server_condition(condition)],
            "replicas": [_replica(each) for each in replicas],
        },
    }


def _server_condition(condition: Condition) -> bodies.ServerCondition:
    return {
        "type": "Ready",
        "status": _status(condition),
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": moment(condition.since),
    }


def _replica(replica: Replica) -> bodies.ServerReplica:
    said = replica.server_report
    return {
        "replica": replica.id.replica,
        "state": said.state if replica.connected else "disconnected",
        "address": {"rest": said.rest or None, "grpc": said.grpc or None},
        "pid": said.pid or None,
        "bytes": {
            "budget": replica.budget,
            "registered": replica.registered,
            "resident": said.resident,
            "process": said.process,
            "base": said.base,
        },
        "models": {"registered": len(replica.models), "resident": said.resident_models},
        "foreignModels": [
            {"name": each.name, "state": each.state, "bytes": each.bytes} for each in said.foreign
        ],
        "disk": _disk(said.disk),
    }


def _disk(disk: DiskUsage | None) -> DiskBytes | None:
    if disk is None:
        return None
    return {"used": disk.used, "coming": disk.coming, "firm": disk.firm, "budget": disk.budget}


def server_description(
    server: Server, replicas: Sequence[Replica], events: Sequence[Event]
) -> bodies.ServerDescription:
    """One Server, as `describe` shows it."""
    return {
        **server_object(server, replicas),
        "verdict": [
            {"replica": each.id.replica, "models": sorted(each.models), "limit": each.limit}
            for each in replicas
        ],
        "events": [event_object(each) for each in events],
    }


def verdict_object(verdict: Verdict) -> bodies.VerdictObject:
    """A placement verdict: every replica, chosen or refused, in numbers."""
    return {
        "model": verdict.model,
        "bytes": verdict.size,
        "wanted": verdict.wanted,
        "needed": verdict.needed,
        "placed": verdict.placed,
        "reason": verdict.reason,
        "replicas": [_decision(each) for each in verdict.decisions],
    }


def _decision(decision: Decision) -> bodies.DecisionObject:
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


def event_object(event: Event) -> bodies.EventObject:
    """One event, as `events` and `describe` show it."""
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


def _metadata(name: str, generation: int, more: str) -> bodies.MetadataObject:
    whole: bodies.MetadataObject = {"name": name, "generation": generation}
    if more:
        whole.update(_parsed(more))
    return whole


def _status(condition: Condition) -> Literal["True", "False"]:
    return "True" if condition.status else "False"


def _parsed(text: str) -> Any:
    """The value of a stored JSON text."""
    try:
        return from_json(text)
    except ValueError:
        # Halves of surrogate pairs, which JSON can say: only Python's own parser takes them.
        return json.loads(text)
