"""The decision itself: filter, order, choose, and say why. Cost: one pass over the replicas."""

from __future__ import annotations

from collections.abc import Sequence

from overbook.placement.demand import ModelDemand, ReplicaView
from overbook.placement.filters import (
    Refusal,
    Refused,
    amount,
    refusal,
    worth_waiting_for,
)
from overbook.placement.scores import preference
from overbook.placement.verdict import Decision, Verdict, shortage


def place(model: ModelDemand, replicas: Sequence[ReplicaView]) -> Verdict:
    """Chooses up to ``model.replicas`` different server replicas. Deterministic.

    Every view must leave the model itself out of its sums. Nothing is chosen for a model that can
    go to fewer replicas than it needs, except where it is already: what serves goes on serving. And nothing
    new is chosen while an agent that could take it is about to connect: the first to connect would get all.
    """
    allowed: list[ReplicaView] = []
    refused: list[tuple[ReplicaView, Refused]] = []
    for view in replicas:
        why = refusal(model, view)
        if why is None:
            allowed.append(view)
        else:
            refused.append((view, why))
    allowed.sort(key=preference)
    best = allowed[: model.replicas]
    soon = any(
        why.rule is Refusal.NOT_CONNECTED and worth_waiting_for(model, view)
        for view, why in refused
    )
    if len(best) < model.needed or soon:
        best = [view for view in best if view.holds]
    chosen = frozenset(view.id for view in best)
    reason = ""
    if len(best) < model.replicas:
        reason = shortage(model, replicas, refused, len(best))
    return Verdict(
        model=model.name,
        size=model.size,
        wanted=model.replicas,
        needed=model.needed,
        chosen=tuple(view.id for view in best),
        decisions=tuple(
            [*(_allowed(model, view, view.id in chosen) for view in allowed)]
            + [_decision(view, False, why.reason, why) for view, why in refused]
        ),
        reason=reason,
    )


def _allowed(model: ModelDemand, view: ReplicaView, chosen: bool) -> Decision:
    room = f"{amount(view.limit - view.registered)} of {amount(view.limit)} free"
    if not chosen:
        return _decision(view, False, f"could take it ({room}), others come first", None)
    reason = f"holds it already ({room})" if view.holds else f"{room} for {amount(model.size)}"
    return _decision(view, True, reason, None)


def _decision(view: ReplicaView, chosen: bool, reason: str, why: Refused | None) -> Decision:
    return Decision(
        replica=view.id,
        chosen=chosen,
        reason=reason,
        rule=None if why is None else why.rule,
        registered=view.registered,
        limit=view.limit,
        budget=view.budget,
        models=view.models,
    )
