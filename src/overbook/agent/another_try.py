"""What happened so that fetches which failed, and are tried seldom or not at all, are tried now."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from overbook.agent.assigned import Assignment, asked_by
from overbook.agent.fetches import Fetches
from overbook.artifacts.address import Asked


class AnotherTry:
    """Of one server replica. ``assigned``: all models by name, as they are at each moment."""

    def __init__(self, assigned: Mapping[str, Assignment], fetches: Fetches) -> None:
        self._assigned = assigned
        self._fetches = fetches

    def secrets_changed(self, names: Collection[str]) -> None:
        """What could not be fetched with these secrets, or without them, is tried again."""
        for each in self._assigned.values():
            if each.failure and each.spec.secret in names:
                self._fetches.begin(each, here=each.here)

    def source_answered(self, asked: Asked) -> None:
        """Somebody looked there with success: what could not be had before, and is tried seldom, is tried now."""
        for each in self._assigned.values():
            lasting = each.failure and not (each.final or each.passing)
            if lasting and asked_by(each.spec).place == asked.place:
                self._fetches.begin(each, here=each.here)
