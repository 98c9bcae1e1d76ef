"""Whom pins leave without room: pinned models are never evicted, so all others have what is left. Pure.

Two answers. What pins will hold once every pinned model is in memory is what people are warned of. What they hold now,
by the agents' reports, is what makes a model fail that is not in memory itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from overbook.manifests.quantities import amount
from overbook.placement import ReplicaId
from overbook.scheduler.records import Model, Replica

# Models named in one line; the others are counted.
_NAMED: Final = 5
_REMEDY: Final = "unpin one of them, or give the Server more memory"


def crowded(replica: Replica, models: Mapping[str, Model]) -> set[str]:
    """The models of the replica that will have no room there once all pinned ones are in memory.

    Who is larger than the whole budget is none of them: pins are not what it is refused for.
    """
    if not replica.pinned:
        return set()
    left = replica.budget - sum(replica.pinned.values())
    return {
        name
        for name in replica.models & models.keys()
        if left + replica.pinned.get(name, 0) < models[name].weight.takes <= replica.budget
    }


def warning(replica: Replica, model: Model) -> str:
    """That pins will leave the model no room here, with the numbers; "" when there is room."""
    if model.name not in replica.crowded:
        return ""
    others = sum(replica.pinned.values()) - replica.pinned.get(model.name, 0)
    return _said(replica, model, others, "take")


def failure(replica: Replica, model: Model) -> str:
    """That the model cannot be loaded here, for what pins hold now; "" when it can, or is in memory."""
    report = replica.reports.get(model.name)
    if model.name not in replica.crowded or (report is not None and report.charged):
        return ""
    others = (replica.reports.get(name) for name in replica.pinned if name != model.name)
    held = sum(each.charged for each in others if each is not None)
    fits = model.weight.takes <= replica.budget - held
    return "" if fits else _said(replica, model, held, "hold")


def _said(replica: Replica, model: Model, held: int, verb: str) -> str:
    return (
        f"{replica.id}: it needs {amount(model.weight.takes)}, but pinned models {verb} "
        f"{amount(held)} of {amount(replica.budget)}; {_REMEDY}"
    )


def left_out(replica: Replica, models: Mapping[str, Model]) -> str:
    """In one line, which models of the replica pins leave without room; "" when none."""
    found = [models[name] for name in replica.crowded & models.keys()]
    if not found:
        return ""
    found.sort(key=lambda each: (-each.weight.takes, each.name))
    texts = [f"{each.name} ({amount(each.weight.takes)})" for each in found[:_NAMED]]
    if len(found) > _NAMED:
        texts.append(f"and {len(found) - _NAMED} more")
    return (
        f"{replica.id}: pinned models take {amount(sum(replica.pinned.values()))} of "
        f"{amount(replica.budget)}, which leaves no room for {', '.join(texts)}: requests for "
        f"them are refused while the pinned ones are in memory; {_REMEDY}"
    )


def warnings(
    replicas: Mapping[ReplicaId, Replica], models: Mapping[str, Model], changed: Iterable[str]
) -> list[str]:
    """What people are told who changed these models: a line for each replica where pins leave too little.

    Only where they changed a pinned model, or one that has no room for pins.
    """
    where = {
        replica_id
        for name in changed
        if name in models
        for replica_id in models[name].assigned
        if name in replicas[replica_id].pinned or name in replicas[replica_id].crowded
    }
    lines = (left_out(replicas[each], models) for each in sorted(where))
    return [line for line in lines if line]
