"""Why one of those that could take a model was chosen and another was not: words for the verdict. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from overbook.manifests.quantities import format_bytes
from overbook.placement.views import ModelDemand, ReplicaView


@dataclass(frozen=True, slots=True)
class Candidates:
    """Server replicas that can serve the model. ``passed``: could take it, others were better. ``full``: no room."""

    chosen: tuple[ReplicaView, ...]
    passed: tuple[ReplicaView, ...]
    full: tuple[ReplicaView, ...]


def chosen_because(model: ModelDemand, view: ReplicaView, others: Candidates) -> str:
    """Its room, and what sets it apart from the others that could have taken the model."""
    if view.holds:
        return f"holds it already; {_room(view)}"
    reasons = [*_advantage(model, view, others), f"{_room(view)} for {format_bytes(model.size)}"]
    return "; ".join(reasons)


def not_chosen_because(model: ModelDemand, view: ReplicaView, others: Candidates) -> str:
    """Its room, and what the chosen ones have that it has not."""
    best = next(iter(others.chosen), None)
    why = "others come first"
    if best is None:
        why = "too few can"
    elif best.holds:
        why = f"{best.id} holds it already"
    elif _is_foreign_format(model, view) and not _is_foreign_format(model, best):
        why = f"the model's files are made for {model.made_for}, as {best.id} is"
    elif view.own_packages and not best.own_packages:
        why = f"it has packages of its own, which the model does not ask for, and {best.id} has not"
    elif (own := view.own_process_for(model)) and not best.own_process_for(model):
        why = (
            f"{_words(own)} would take a process of its own here, {best.id} serves it in its one "
            "process"
        )
    return f"could take it ({_room(view)}), but {why}"


def _advantage(model: ModelDemand, view: ReplicaView, others: Candidates) -> list[str]:
    if model.made_for == view.runtime and any(
        _is_foreign_format(model, each) for each in others.passed
    ):
        return [f"the model's files are made for {view.runtime}"]
    own = view.own_process_for(model)
    for other in others.passed:
        theirs = other.own_process_for(model)
        if theirs and not own:
            return [
                f"serves {_words(theirs)} in its one process; {other.id.server} would pay a "
                "process of its own"
            ]
    for other in others.full:
        if own and not other.own_process_for(model):
            return [
                f"pays a process of its own for {_words(own)}; {other.id} would not, but has no room"
            ]
    return []


def _is_foreign_format(model: ModelDemand, view: ReplicaView) -> bool:
    return model.made_for not in ("", view.runtime)


def _room(view: ReplicaView) -> str:
    free = view.limit - view.registered
    if free < 0:
        return f"{format_bytes(-free)} above {format_bytes(view.limit)}"
    return f"{format_bytes(free)} of {format_bytes(view.limit)} free"


def _words(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
