"""Models that wait for a place, kept so that "who fits now?" never means looking at all of them.

Models with equal demands but for their size share a group, in order of size. Whoever can take one of a
group can take every smaller one, so when a group's smallest does not fit, nobody of the group does.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from overbook.placement import ReplicaId
from overbook.scheduler.records import Model


@dataclass(frozen=True, slots=True)
class Group:
    """All that placement asks of a model besides its size. ``holds``: where its own bytes count already."""

    requirements: frozenset[str]
    server: str | None
    replicas: int
    needed: int
    holds: frozenset[ReplicaId]
    callees: tuple[str, ...]


class Pending:
    """The waiting models. A model is in at most one group."""

    def __init__(self) -> None:
        self._groups: dict[Group, list[tuple[int, float, str]]] = {}
        self._entries: dict[str, tuple[Group, tuple[int, float, str]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def put(self, model: Model) -> None:
        """Waits with its present demand; a place that it had in the queue is given up."""
        self.discard(model.name)
        group = Group(
            frozenset(model.needs.requirements),
            model.needs.server,
            model.needs.replicas,
            model.needed,
            frozenset(model.seats),
            model.callees,
        )
        entry = (model.size, model.created, model.name)
        bisect.insort(self._groups.setdefault(group, []), entry)
        self._entries[model.name] = (group, entry)

    def discard(self, name: str) -> None:
        found = self._entries.pop(name, None)
        if found is None:
            return
        group, entry = found
        entries = self._groups[group]
        del entries[bisect.bisect_left(entries, entry)]
        if not entries:
            del self._groups[group]

    def groups(self) -> list[Group]:
        return list(self._groups)

    def smallest(self, group: Group) -> str | None:
        """The name of the group's smallest model, of equal ones the first registered."""
        entries = self._groups.get(group)
        return entries[0][2] if entries else None

    def names(self) -> list[str]:
        """All, in the order of their registration."""
        return [
            name for _, name in sorted((entry[1], entry[2]) for _, entry in self._entries.values())
        ]
