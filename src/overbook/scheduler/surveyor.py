"""Has somebody look at models' files where they are, since the scheduler may be elsewhere.

One agent of each machine is asked, as all agents of a machine see the same files. What an apply could not have looked
at, because no agent was there, is looked at when one comes. What follows from it is decided in `manifests_in`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from overbook.artifacts.survey import Survey
from overbook.placement import ReplicaId
from overbook.scheduler import manifests_in, messages
from overbook.scheduler.actor import Actor
from overbook.scheduler.errors import Unavailable
from overbook.scheduler.records import ArtifactAddress
from overbook.scheduler.state import State
from overbook.wire import scheduler_pb2 as pb
from overbook.wire.channel import SYNC_CHUNK

# What is there, why it can be no model, or None: there is nobody who could look.
Found = Survey | str | None

# Seconds for all addresses of one question; an agent has limits of its own for each.
LOOK_SECONDS: Final = 60.0


class Surveyor:
    """``here`` looks at files of this machine, while no agent is connected; None where the scheduler is alone."""

    def __init__(self, actor: Actor, here: Callable[[str], Survey | str] | None) -> None:
        self._actor = actor
        self._here = here

    def wake(self) -> None:
        """There may be something that was not looked at."""
        self._actor.links.came.set()

    async def look(self, wanted: Sequence[ArtifactAddress]) -> list[Found]:
        """Looks at each address. Where machines disagree, the first by name that has a model there counts."""
        if not wanted:
            return []
        asked = self._one_of_each_machine()
        if not asked and self._here is not None:
            return await asyncio.to_thread(
                lambda here: [here(each.storage_uri) for each in wanted], self._here
            )
        answers = await asyncio.gather(*(self._ask(each, wanted) for each in asked))
        return [_best(seen) for seen in zip(*answers, strict=True)] or [None] * len(wanted)

    def _one_of_each_machine(self) -> list[ReplicaId]:
        found: dict[str, ReplicaId] = {}
        for replica in self._actor.state.seats.replicas.values():
            if replica.connected and replica.hello is not None:
                found.setdefault(replica.hello.machine, replica.id)
        return [found[machine] for machine in sorted(found)]

    async def _ask(self, replica: ReplicaId, wanted: Sequence[ArtifactAddress]) -> list[Found]:
        found: list[Found] = []
        for start in range(0, len(wanted), SYNC_CHUNK):
            piece = [messages.artifact(each) for each in wanted[start : start + SYNC_CHUNK]]
            try:
                seen = await self._actor.links.look(replica, piece, LOOK_SECONDS)
                found.extend(map(_found, seen))
            except Unavailable as error:
                found.extend([str(error) if replica in self._actor.links else None] * len(piece))
        return found

    async def run(self) -> None:
        """Looks, whenever an agent comes, at what nobody could look at; until cancelled."""
        while True:
            await self._actor.links.came.wait()
            self._actor.links.came.clear()
            models = self._actor.state.seats.models.values()
            unseen = [
                (each.name, each.needs.artifact)
                for each in models
                if each.unseen is not None and not each.deleting
            ]
            for start in range(0, len(unseen), SYNC_CHUNK):
                await self._look_at(unseen[start : start + SYNC_CHUNK])

    async def _look_at(self, models: Sequence[tuple[str, ArtifactAddress]]) -> None:
        found = await self.look([address for _, address in models])

        async def take(state: State, now: float) -> None:
            for (name, address), seen in zip(models, found, strict=True):
                if seen is not None:
                    manifests_in.looked(state, name, address, seen)

        await self._actor.submit(take, patient=True)


def _found(seen: pb.ArtifactSurvey) -> Survey | str:
    return seen.error or Survey(seen.bytes, seen.fingerprint, seen.made_for, tuple(seen.callees))


def _best(seen: Sequence[Found]) -> Found:
    """A model wherever one is; else why there is none; None when nobody looked."""
    for kind in (Survey, str):
        for each in seen:
            if isinstance(each, kind):
                return each
    return None
