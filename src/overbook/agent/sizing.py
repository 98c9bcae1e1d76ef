"""What the core is told of an assigned model: the bytes to charge and to reserve for it, and what was seen of its use.

Between what was measured (`memory.sizes`), what was seen (`memory.history`) and what the scheduler asked for
(`assigned`). Keeps which models have the same files, as what is measured of one of them holds for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from overbook.agent.assigned import AssignedContent, Assignment
from overbook.agent.clock import Clock
from overbook.agent.guesses import SMALLEST
from overbook.agent.memory.history import History, Seen
from overbook.agent.memory.sizes import Sizes
from overbook.agent.servers.protocol import PreparedModel
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, Register


class Sizing:
    """Of one server replica."""

    def __init__(self, sizes: Sizes, history: History, clock: Clock) -> None:
        self._sizes = sizes
        self._history = history
        self._clock = clock
        self._by_digest: dict[str, set[str]] = {}

    def introduce(self, assignment: Assignment) -> None:
        """Its content is known now."""
        self._sizes.introduce(assignment.measurable)
        self._by_digest.setdefault(assignment.measurable.digest, set()).add(assignment.spec.name)

    def with_files(self, digest: str) -> tuple[str, ...]:
        """Models that have, or had, these files."""
        return tuple(self._by_digest.get(digest, ()))

    def forget(self, content: AssignedContent, assigned: Iterable[str]) -> None:
        """Whoever deletes a model and applies it anew wants it to be measured anew. ``assigned``: models that are."""
        digest = content.artifact.digest
        if self._by_digest.get(digest, set()).isdisjoint(assigned):
            self._sizes.forget(digest)

    def keep_only(self, digests: set[str]) -> None:
        """Nothing else is here any more."""
        self._sizes.keep_only(digests)
        for gone in self._by_digest.keys() - digests:
            del self._by_digest[gone]

    def charge(self, assignment: Assignment) -> int:
        """Bytes that the ledger charges for it, or would."""
        return self._sizes.charge(assignment.measurable, assignment.declared)

    def charge_for(self, prepared: PreparedModel, assignment: Assignment | None) -> int:
        """Bytes to charge for what was loaded, which may be older than what is assigned now."""
        content = self._sizes.content(prepared.artifact.name)
        return self._sizes.charge(content, None if assignment is None else assignment.declared)

    def measured(self, assignment: Assignment) -> int | None:
        """Bytes that it was seen to take, None until it was."""
        found = self._sizes.measured(assignment.measurable, assignment.declared)
        # Too little to be seen is not nothing: it is shown with the page that it is charged.
        return None if found is None else max(SMALLEST, found)

    def differs(self, assignment: Assignment, entry: Entry) -> bool:
        """Whether the core believes anything else."""
        known = self.charge(assignment), self._sizes.peak(assignment.measurable)
        return (entry.size, entry.peak) != known

    def registration(self, assignment: Assignment) -> Register:
        """All of it, for the core."""
        spec, content = assignment.spec, assignment.content
        used = self._history.last_used(spec.name)
        return Register(
            model=ModelName(spec.name),
            size=self.charge(assignment),
            generation=spec.generation if content is None else content.prepared.generation,
            pinned=spec.pinned,
            priority=spec.priority,
            keep_alive=spec.keep_alive_seconds,
            reserve=self._sizes.reserve(assignment.measurable, assignment.declared),
            peak=self._sizes.peak(assignment.measurable),
            callees=tuple(map(ModelName, spec.callees)),
            sequence_idle=0.0 if content is None else content.facts.sequence_idle,
            load_seconds=self._history.load_seconds(assignment.measurable.digest),
            last_used=-math.inf if used is None else self._clock.from_wall(used),
        )

    def remember(self, used: Iterable[tuple[Assignment, Entry]]) -> None:
        """Keep, for after a restart, what eviction goes by."""
        self._history.note(
            Seen(
                known.spec.name,
                known.measurable.digest,
                entry.load_seconds,
                self._clock.to_wall(entry.last_used) if entry.last_used > -math.inf else None,
            )
            for known, entry in used
        )
