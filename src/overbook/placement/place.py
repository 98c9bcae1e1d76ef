"""The decision itself: filter, order, choose, and say why. Cost: one pass over the replicas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from overbook.placement.choice import Candidates, chosen_because, not_chosen_because
from overbook.placement.filters import (
    Rule,
    Unfit,
    refusal,
    worth_waiting_for,
)
from overbook.placement.scores import preference
from overbook.placement.verdict import Decision, Verdict, shortage
from overbook.placement.views import ModelDemand, Provider, ReplicaView, Unseen

SCALED_DOWN: Final = (
    "spec.replicas is 0, so it is served nowhere; set replicas to 1 or more to serve it"
)


def place(
    model: ModelDemand, replicas: Sequence[ReplicaView], providers: Sequence[Provider] = ()
) -> Verdict:
    """Chooses up to ``model.replicas`` different server replicas. Deterministic.

    Every view must leave the model itself out of its sums. Nothing is chosen for a model that can
    go to fewer replicas than it needs, except where it is already: what serves goes on serving, also when it asks for
    more than there is room for, and nobody else has that room. And nothing
    new is chosen while an agent that could take it is about to connect: the first to connect would get all.
    ``providers``: who could offer what nobody offers now, for the advice in the verdict.
    """
    if model.replicas == 0:
        return _nowhere(model, replicas)
    if model.unseen is not None:
        return _where_it_is(model, model.unseen, replicas)
    allowed: list[ReplicaView] = []
    refused: list[tuple[ReplicaView, Unfit]] = []
    for view in replicas:
        why = refusal(model, view)
        if why is None:
            allowed.append(view)
        else:
            refused.append((view, why))
    allowed.sort(key=lambda view: preference(model, view))
    best = allowed[: model.replicas]
    over = _kept_over_the_limit(model, refused, model.replicas - len(best))
    best += over
    allowed += over
    refused = [(view, why) for view, why in refused if view not in over]
    soon = any(
        why.rule is Rule.NOT_CONNECTED and worth_waiting_for(model, view) for view, why in refused
    )
    if len(best) < model.needed or soon:
        best = [view for view in best if view.holds]
    chosen = frozenset(view.id for view in best)
    reason = ""
    if len(best) < model.replicas:
        reason = shortage(model, replicas, refused, len(best), providers)
    candidates = Candidates(
        chosen=tuple(view for view in allowed if view.id in chosen),
        passed=tuple(view for view in allowed if view.id not in chosen),
        full=tuple(view for view, why in refused if why.rule is Rule.NO_ROOM),
    )
    return Verdict(
        model=model.name,
        size=model.size,
        wanted=model.replicas,
        needed=model.needed,
        chosen=tuple(view.id for view in best),
        decisions=tuple(_decisions(model, candidates, refused)),
        reason=reason,
    )


def _decisions(
    model: ModelDemand, candidates: Candidates, refused: Sequence[tuple[ReplicaView, Unfit]]
) -> Iterator[Decision]:
    for view in candidates.chosen:
        yield _decision(view, True, chosen_because(model, view, candidates), None)
    for view in candidates.passed:
        yield _decision(view, False, not_chosen_because(model, view, candidates), None)
    for view, why in refused:
        yield _decision(view, False, why.reason, why)


def _nowhere(model: ModelDemand, replicas: Sequence[ReplicaView]) -> Verdict:
    """Its owner wants it registered, and not served."""
    return Verdict(
        model=model.name,
        size=model.size,
        wanted=0,
        needed=0,
        chosen=(),
        decisions=tuple(_decision(view, False, SCALED_DOWN, None) for view in replicas),
        reason=SCALED_DOWN,
    )


def _where_it_is(model: ModelDemand, why: Unseen, replicas: Sequence[ReplicaView]) -> Verdict:
    """Without a look at its files neither its size nor its format is known: what holds it goes on, nothing is added."""
    held = [view for view in replicas if view.holds and not view.draining][: model.replicas]
    candidates = Candidates(chosen=tuple(held), passed=(), full=())
    return Verdict(
        model=model.name,
        size=model.size,
        wanted=model.replicas,
        needed=model.needed,
        chosen=tuple(view.id for view in held),
        decisions=tuple(
            _decision(view, True, chosen_because(model, view, candidates), None)
            if view in held
            else _decision(view, False, why.reason, None)
            for view in replicas
        ),
        reason=why.reason if len(held) < model.replicas else "",
        unseen=why,
    )


def _kept_over_the_limit(
    model: ModelDemand, refused: Sequence[tuple[ReplicaView, Unfit]], missing: int
) -> list[ReplicaView]:
    """Of those that have no room for it, ``missing`` where it is and may stay all the same."""
    kept = [view for view, why in refused if why.rule is Rule.NO_ROOM and view.keeps]
    return sorted(kept, key=lambda view: preference(model, view))[:missing]


def _decision(view: ReplicaView, chosen: bool, reason: str, why: Unfit | None) -> Decision:
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
