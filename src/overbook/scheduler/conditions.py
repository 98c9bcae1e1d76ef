"""The condition ModelReady of a model and Ready of a server: from records and reports, by one table. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from overbook.manifests.quantities import amount
from overbook.placement import ReplicaId
from overbook.scheduler import pins
from overbook.scheduler.records import (
    Condition,
    Model,
    Readiness,
    Reason,
    Replica,
    Report,
    Role,
    Server,
)

# Models named in a warning; the others are counted.
_NAMED: Final = 5


def is_available(model: Model, replica: Replica | None) -> bool:
    """Whether the replica serves the content that the model's manifest asks for now."""
    if replica is None or not replica.connected:
        return False
    report = replica.reports.get(model.name)
    return (
        report is not None
        and report.available
        and not report.failed
        and report.generation >= model.content_generation
    )


def is_final(model: Model, replicas: Mapping[ReplicaId, Replica]) -> bool:
    """Whether so many replicas gave this content up that the rest does not suffice, whatever they still try."""
    assigned = model.assigned
    given_up = sum(1 for each in assigned if _gave_up(model, replicas.get(each)))
    return given_up > 0 and len(assigned) - given_up < model.needed and not model.deleting


def _gave_up(model: Model, replica: Replica | None) -> bool:
    report = None if replica is None else replica.reports.get(model.name)
    return (
        report is not None
        and report.failed
        and report.final
        and report.generation >= model.content_generation
    )


def model_condition(model: Model, replicas: Mapping[ReplicaId, Replica], now: float) -> Condition:
    """Ready when as many replicas are available as are needed, or all that there is a place for; else the most telling
    reason why not.
    """
    reason, message = _model_reason(model, replicas)
    return _since(model.condition, reason is Reason.AVAILABLE, reason.value, message, now)


def readiness(model: Model, replicas: Mapping[ReplicaId, Replica]) -> Readiness:
    """Whether requests for the model are answered, as far as agents told: also by what an update that failed left.

    It is what gateways tell their clients.
    """
    routes = [each for each, role in model.seats.items() if role is not Role.REVOKING]
    if not routes:
        return Readiness(False, model.reason)
    told = [_no_answer(model, each, replicas.get(each)) for each in routes]
    if "" in told:
        return Readiness(True)
    if None in told:
        return Readiness(None)
    return Readiness(False, "; ".join(each for each in told if each))


def _no_answer(model: Model, each: ReplicaId, replica: Replica | None) -> str | None:
    """Why requests for the model are not answered by this replica; "" when they are, None while that is not known."""
    report = _report(model, replica)
    if replica is None or report is None:
        return None
    if report.serving_generation > 0 or (report.available and not report.failed):
        return pins.failure(replica, model)
    return f"{each}: {report.last_error or report.unverified}"


def _report(model: Model, replica: Replica | None) -> Report | None:
    if replica is None or not replica.connected:
        return None
    return replica.reports.get(model.name)


def _model_reason(model: Model, replicas: Mapping[ReplicaId, Replica]) -> tuple[Reason, str]:
    if model.deleting:
        left = ", ".join(str(replica) for replica in model.seats)
        return Reason.TERMINATING, f"being removed from {left or 'the books'}"
    if model.needs.replicas == 0:
        return Reason.SCALED_DOWN, model.reason
    seats = [(each, replicas.get(each)) for each in model.assigned]
    available = sum(
        1
        for _, replica in seats
        if replica is not None and is_available(model, replica) and not pins.failure(replica, model)
    )
    if available >= min(model.needed, len(seats)) and seats:
        # With a replica too few it serves all the same; the shortage is told.
        text = (
            f"{available} of {model.needs.replicas} replicas available"
            f"{_unverified(model, seats)}{_sizes(model, seats)}"
        )
        text += "".join(f"; {said}" for said in _told(model, seats, pins.warning))
        return Reason.AVAILABLE, f"{text}; {model.reason}" if model.reason else text
    failure = _failure(model, seats) or "; ".join(_told(model, seats, pins.failure))
    if failure:
        return Reason.FAILED, failure
    if len(seats) < model.needed:
        if model.waiting and model.unseen is not None and model.unseen.asked:
            return Reason.PROGRESSING, f"waiting for its source: {model.reason}"
        if model.waiting:
            return Reason.PROGRESSING, f"waiting for a server replica: {model.reason}"
        return Reason.SCHEDULE_FAILED, model.reason
    away = [str(each) for each, replica in seats if replica is None or not replica.connected]
    text = f"{available} of {model.needed} needed replicas available{_unverified(model, seats)}"
    if away:
        return Reason.PROGRESSING, f"{text}; not connected: {', '.join(away)}"
    return Reason.PROGRESSING, text


def _failure(model: Model, seats: Sequence[tuple[ReplicaId, Replica | None]]) -> str:
    """The server's own words of the first replica where this content failed, "" when none did."""
    for each, replica in seats:
        report = None if replica is None else replica.reports.get(model.name)
        if report is None or not report.failed or report.generation < model.content_generation:
            continue
        reason = report.last_error or "failed without a reason"
        if 0 < report.serving_generation < report.generation:
            reason = (
                f"generation {report.generation} failed: {reason}; "
                f"generation {report.serving_generation} serves"
            )
        if report.final:
            reason += "; it is not retried by itself: fix it and apply it, or activate it"
        elif report.retry_at:
            reason += f"; tried again at {_time_of_day(report.retry_at)}"
        return f"{each}: {reason}"
    return ""


def _time_of_day(moment: float) -> str:
    """Of Unix seconds."""
    minutes, seconds = divmod(int(moment) % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02} UTC"


def _unverified(model: Model, seats: Sequence[tuple[ReplicaId, Replica | None]]) -> str:
    """That nobody has seen this content loaded on some replica, and why; "" when it was on all."""
    for each, replica in seats:
        report = _report(model, replica)
        current = report is not None and report.generation >= model.content_generation
        if report is not None and current and report.unverified and not report.failed:
            word = "unverified: " if report.available else ""
            return f"; {word}{each}: {report.unverified}"
    return ""


def _told(
    model: Model,
    seats: Sequence[tuple[ReplicaId, Replica | None]],
    of: Callable[[Replica, Model], str],
) -> list[str]:
    """What is to be said of each seat, where anything is."""
    said = (of(replica, model) for _, replica in seats if replica is not None)
    return [each for each in said if each]


def _sizes(model: Model, seats: Sequence[tuple[ReplicaId, Replica | None]]) -> str:
    """That the manifest's memory is wrong, with the numbers; "" when it is not."""
    for _, replica in seats:
        report = None if replica is None else replica.reports.get(model.name)
        if report is not None and report.misdeclared:
            declared, measured = report.declared or 0, report.measured or 0
            return f"; spec.memory says {amount(declared)}, but {amount(measured)} were measured"
    return ""


def _warnings(replica: Replica) -> list[str]:
    """What does not hurt now, but will: wrong manifests, and more registered than may be."""
    found: list[str] = []
    if replica.connected and replica.news is not None:
        found.append(f"{replica.id}: {replica.news.text}; it keeps running with what it has")
    wrong = sorted(replica.misdeclared)
    if wrong:
        names = ", ".join(wrong[:_NAMED])
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        found.append(
            f"{replica.id}: spec.memory is off by more than 25 % for {names}{more}; see `overbook describe model`"
        )
    if replica.registered > replica.limit:
        found.append(
            f"{replica.id}: {amount(replica.registered)} are registered, more than the limit of "
            f"{amount(replica.limit)}{_excess(replica)}; no more models are accepted"
        )
    return found


def _excess(replica: Replica) -> str:
    """By which models the limit is exceeded: those that turned out larger than they were admitted with."""
    largest = heapq.nlargest(_NAMED, replica.beyond.items(), key=lambda pair: (pair[1], pair[0]))
    if not largest:
        return ""
    texts = [f"{name} by {amount(bytes_)}" for name, bytes_ in largest]
    others = len(replica.beyond) - len(largest)
    if others:
        left = sum(replica.beyond.values()) - sum(bytes_ for _, bytes_ in largest)
        texts.append(f"and {others} more by {amount(left)}")
    return f", as models take more than was declared or first guessed: {', '.join(texts)}"


def server_condition(server: Server, replicas: Sequence[Replica], now: float) -> Condition:
    """Ready when the inference server of every replica is."""
    ready = 0
    failed = False
    problems: list[str] = []
    for replica in replicas:
        said = replica.server_report
        if not replica.connected:
            failed = failed or (replica.news is not None and replica.news.failed)
            because = f": {replica.news.text}" if replica.news is not None else ""
            problems.append(f"{replica.id} is not connected{because}")
        elif said.state == "ready":
            ready += 1
        else:
            failed = failed or said.state == "failed"
            because = f": {said.message}" if said.message else ""
            problems.append(f"{replica.id} is {said.state}{because}")
    text = f"{ready} of {server.replicas} replicas ready"
    warnings = [each for replica in replicas for each in _warnings(replica)]
    message = "; ".join([text, *problems[:3], *warnings[:3]])
    if ready >= server.replicas:
        return _since(server.condition, True, "ServerReady", message, now)
    reason = "ServerFailed" if failed else "ServerProgressing"
    return _since(server.condition, False, reason, message, now)


def _since(
    before: Condition | None, status: bool, reason: str, message: str, now: float
) -> Condition:
    """A condition's time is that of its last change of status, not of its words."""
    if before is not None and before.status == status:
        if before.reason == reason and before.message == message:
            return before
        return replace(before, reason=reason, message=message)
    return Condition(status, reason, message, now)
