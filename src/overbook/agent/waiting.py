"""Requests wait here for a model: for its files, where these are not on the disk, and then until it is in memory.

What is fetched when is `fetches`' to say, and what is loaded when the core's; nothing may be decided here but how long
a request waits, and what it is told when that was in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from overbook.agent.activation import Activation
from overbook.agent.actor import Actor
from overbook.agent.assigned import AssignedContent, Assignment, asked_by
from overbook.agent.awaited import what_is_awaited
from overbook.agent.clock import Clock
from overbook.agent.fetches import RETRY_BASE, Fetches
from overbook.agent.files import Cache
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import CHARGED

# Requests that may wait for the artifact of one model; beyond that they are told to come again.
_MAX_WAITING: Final = 2000
# Seconds between two looks whether a model that leaves has left.
_MOMENT: Final = 0.1


class WaitingRequests:
    """Of one server replica. ``assigned``: all models by name, as they are at each moment."""

    def __init__(
        self,
        assigned: Mapping[str, Assignment],
        actor: Actor,
        cache: Cache,
        fetches: Fetches,
        clock: Clock,
    ) -> None:
        self._assigned = assigned
        self._actor = actor
        self._cache = cache
        self._fetches = fetches
        self._clock = clock

    async def activate(self, model: ModelName, *, timeout: float, suspect: bool) -> Activation:
        """Wait for the artifact, then for the model to be resident; ``timeout`` in seconds for both."""
        began = self._clock.now()
        first = True
        while True:
            waited = self._clock.now() - began
            assignment = self._assigned.get(model)
            if assignment is None:
                reason = f"model '{model}' is not assigned to this server replica"
                return Activation(Refusal.UNKNOWN, reason)
            left = timeout - waited
            goes = left > 0 and self._actor.leaves_for_good(model)
            content = assignment.content
            if not goes and content is not None and self._can_load(content):
                with self._cache.holding(content.artifact.digest):
                    activation = await self._actor.activate(model, timeout=left, suspect=suspect)
                return replace(activation, waited=activation.waited + waited)
            if assignment.waiting >= _MAX_WAITING:
                reason = f"{assignment.waiting} requests wait for the artifact of model '{model}'"
                return Activation(Refusal.OVERLOADED, f"{reason}; at most that many may", 1.0)
            if goes:
                # Its files are for who has waited for their room: it is this request's turn after that.
                await assignment.news(min(left, _MOMENT))
                continue
            if assignment.registered and not (assignment.failure and not assignment.passing):
                again, first = first, False
                if why := await self._brought(assignment, left, again=again):
                    return Activation(Refusal.DEADLINE, why, RETRY_BASE, waited=timeout)
                continue
            if assignment.failure and not _is_tried_now(assignment):
                return Activation(Refusal.LOAD_FAILED, assignment.failure, self._after(assignment))
            if not await assignment.news(left):
                reason = f"its files {self._what_is_awaited(assignment)}"
                return Activation(Refusal.DEADLINE, reason, 1.0, waited=timeout)

    async def wait_for_files(self, model: ModelName, timeout: float) -> None:
        """For who wants to know what a model is: nothing where the server has said it, or the files are on the disk."""
        assignment = self._assigned.get(model)
        if assignment is None or assignment.content is None or self._actor.is_described(model):
            return
        if not self._cache.is_here(assignment.content.artifact.digest):
            await self._brought(assignment, timeout, again=True)

    def _after(self, assignment: Assignment) -> float:
        """Seconds after which a client may ask again; 0 where that would help nobody."""
        if assignment.final:
            return 0.0
        at = assignment.retry_at
        return RETRY_BASE if at is None else max(RETRY_BASE, at - self._clock.now())

    def _can_load(self, content: AssignedContent) -> bool:
        """Whether it is in memory, or its files are on the disk."""
        entry = self._actor.entries.get(ModelName(content.prepared.name))
        in_memory = entry is not None and entry.state in CHARGED
        return in_memory or self._cache.is_here(content.artifact.digest)

    async def _brought(self, assignment: Assignment, timeout: float, *, again: bool) -> str:
        """Wait until files that left the disk are back, or were refused; why they are not after so many seconds, or "".

        Requests that wait have time: what passes by itself is waited for. ``again``: what had no room on the disk, when
        nobody waited for it, is tried at once, as room is made for who waits.
        """
        pauses = assignment.retry_at is not None and not assignment.waiting
        again = again and assignment.crowded and pauses
        if assignment.fetch is None or not assignment.here or again:
            self._fetches.begin(assignment, here=True)
        if await assignment.news(timeout):
            return ""
        return f"its files had left the disk, and {self._what_is_awaited(assignment)}"

    def _what_is_awaited(self, assignment: Assignment) -> str:
        at = assignment.retry_at
        return what_is_awaited(
            self._cache.transferred(asked_by(assignment.spec)),
            failure=assignment.failure,
            delay=assignment.delay,
            retry_in=None if at is None else at - self._clock.now(),
        )


def _is_tried_now(assignment: Assignment) -> bool:
    """Whether its files are being fetched once more after a failure that may have passed: that is worth waiting for."""
    trying = assignment.fetch is not None and assignment.retry_at is None
    return trying and assignment.passing and not assignment.final
