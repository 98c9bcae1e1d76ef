"""Has somebody look at models' files where they are, since the scheduler may be elsewhere.

One agent of each machine is asked, as all agents of a machine see the same files. What an apply could not have looked
at is looked at when an agent comes, or a secret, and again after a while where a source did not answer, or refused. Who
asks for that (`refresh`) has the source of a model asked for changes now and then. What follows from it is decided in
`manifests_in`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from overbook.artifacts.address import is_remote
from overbook.artifacts.survey import NotNow, Survey
from overbook.manifests.plain_text import plain_text
from overbook.placement import ReplicaId
from overbook.scheduler import manifests_in, messages
from overbook.scheduler.actor import Actor
from overbook.scheduler.errors import Unavailable
from overbook.scheduler.records import ArtifactAddress
from overbook.scheduler.state import State
from overbook.wire import scheduler_pb2 as pb
from overbook.wire.channel import SYNC_CHUNK

# What is there, why it can be no model, why nobody can tell now, or None: there is nobody who could look.
Found = Survey | str | NotNow | None

# Seconds for all addresses of one question; an agent has limits of its own for each.
LOOK_SECONDS: Final = 60.0
# Between two looks at the same address whose source does not answer, or refuses what may be put right there; seconds,
# the first and the longest.
_AGAIN: Final = 5.0
_LATEST: Final = 120.0
# How often it is looked whether anything is due; seconds.
_TICK: Final = 1.0

# A model's name, and where its files are.
_Model: TypeAlias = tuple[str, ArtifactAddress]
_Take: TypeAlias = Callable[[State, str, ArtifactAddress, Survey | NotNow | str], None]


class Surveyor:
    """``here`` looks at files of this machine, while no agent is connected; None where the scheduler is alone."""

    def __init__(
        self, actor: Actor, here: Callable[[ArtifactAddress], Survey | str] | None
    ) -> None:
        self._actor = actor
        self._here = here
        self._tries: dict[str, _Tries] = {}
        self._refreshed: dict[str, float] = {}

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
                lambda here: [
                    None if is_remote(each.storage_uri) else here(each) for each in wanted
                ],
                self._here,
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

    async def look_again(self, name: str) -> None:
        """Looks at once at the files of a model, where nobody could look at them yet."""
        found = [each for each in self._unseen(due_only=False) if each[0] == name]
        await self._look_at_all(found, manifests_in.looked)

    async def run(self) -> None:
        """Looks, whenever an agent comes or something is due, at what nobody could look at; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(), name="looks that are due")
            while True:
                await self._actor.links.came.wait()
                self._actor.links.came.clear()
                await self._look_at_all(self._unseen(due_only=False), manifests_in.looked)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            await self._look_at_all(self._unseen(due_only=True), manifests_in.looked)
            await self._look_at_all(self._to_refresh(), manifests_in.refreshed)

    def _unseen(self, *, due_only: bool) -> list[_Model]:
        now = self._actor.now()
        models = self._actor.state.seats.models
        for gone in self._tries.keys() - models.keys():
            del self._tries[gone]
        return [
            (each.name, each.needs.artifact)
            for each in models.values()
            if each.unseen is not None
            and not each.deleting
            and (not due_only or self._is_due(each.name, now))
        ]

    def _is_due(self, name: str, now: float) -> bool:
        tries = self._tries.get(name)
        return tries is not None and tries.next <= now

    def _to_refresh(self) -> list[_Model]:
        """Models whose sources are to be asked for changes now."""
        now = self._actor.now()
        wanted = {
            each.name: each
            for each in self._actor.state.seats.models.values()
            if each.needs.refresh and each.unseen is None and not each.deleting
        }
        for gone in self._refreshed.keys() - wanted.keys():
            del self._refreshed[gone]
        due = []
        for name, model in wanted.items():
            if now >= self._refreshed.setdefault(name, now + model.needs.refresh):
                self._refreshed[name] = now + model.needs.refresh
                due.append((name, model.needs.artifact))
        return due

    async def _look_at_all(self, models: Sequence[_Model], taken: _Take) -> None:
        for start in range(0, len(models), SYNC_CHUNK):
            await self._look_at(models[start : start + SYNC_CHUNK], taken)

    async def _look_at(self, models: Sequence[_Model], taken: _Take) -> None:
        found = await self.look([address for _, address in models])
        for (name, address), seen in zip(models, found, strict=True):
            again = isinstance(seen, NotNow)
            again |= isinstance(seen, str) and is_remote(address.storage_uri)
            self._note_try(name, again=again)

        async def take(state: State, now: float) -> None:
            for (name, address), seen in zip(models, found, strict=True):
                if seen is not None:
                    taken(state, name, address, seen)

        await self._actor.submit(take, patient=True)

    def _note_try(self, name: str, *, again: bool) -> None:
        if not again:
            self._tries.pop(name, None)
            return
        before = self._tries.get(name)
        pause = _AGAIN if before is None else min(_LATEST, 2 * before.pause)
        self._tries[name] = _Tries(self._actor.now() + pause, pause)


@dataclass(frozen=True, slots=True)
class _Tries:
    """``next``: when it is to be looked at again, ``pause``: seconds after the last look."""

    next: float
    pause: float


def _found(seen: pb.ArtifactSurvey) -> Survey | NotNow | str:
    if seen.error:
        error = plain_text(seen.error)
        return NotNow(error) if seen.passing else error
    return Survey(seen.bytes, seen.fingerprint, seen.made_for, tuple(seen.callees))


def _best(seen: Sequence[Found]) -> Found:
    """A model wherever one is; else why there is none; None when nobody looked."""
    for kind in (Survey, NotNow, str):
        for each in seen:
            if isinstance(each, kind):
                return each
    return None
