"""Who loses a place when a Server is deleted or made smaller, in words for whoever did it. Looks only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from overbook.placement import ReplicaId
from overbook.scheduler.state import State

# Models named in one line; the others are counted.
_NAMED: Final = 5

Seats = Mapping[str, frozenset[ReplicaId]]


def seats(state: State, server: str) -> Seats:
    """Where the models of this Server are assigned, by name; only its own replicas count."""
    found: dict[str, set[ReplicaId]] = {}
    for replica in state.replicas_of(server):
        for name in replica.models:
            if replica.id in state.seats.models[name].assigned:
                found.setdefault(name, set()).add(replica.id)
    return {name: frozenset(replicas) for name, replicas in found.items()}


def displaced(state: State, before: Seats) -> list[str]:
    """Models that are not assigned any more to all replicas that they were assigned to, the first by name first."""
    models = state.seats.models
    return [
        name
        for name, replicas in sorted(before.items())
        if name in models and not replicas <= set(models[name].assigned)
    ]


def losses(state: State, server: str, names: Sequence[str]) -> list[str]:
    """One line about models that lost a place on this Server; none when there are none."""
    models = state.seats.models
    if not names:
        return []
    homeless = [name for name in names if name in models and not models[name].assigned]
    moved = [name for name in names if name not in homeless]
    one = len(names) == 1
    lose = f"{'1 model loses its' if one else f'{len(names)} models lose their'} place on {server}"
    if not homeless:
        return [f"{lose}, and {'has' if one else 'have'} another: {_listed(moved)}"]
    single = len(homeless) == 1
    who = "it" if one else f"{len(homeless)} of them"
    finds, waits, them = ("finds", "waits", "it") if single else ("find", "wait", "them")
    line = f"{lose}; {who} {finds} no other and {waits} for a Server that takes {them}: "
    others = f"; with another place: {_listed(moved)}" if moved else ""
    return [line + _listed(homeless) + others]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
