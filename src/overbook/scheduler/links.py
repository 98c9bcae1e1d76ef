"""The agents that are connected now: what each must still be told, and questions that wait for their answer.

As in `catalogue`, a link holds names and no messages. Only the newest session of a replica counts.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from overbook.manifests.plain_text import plain_text
from overbook.placement import ReplicaId
from overbook.scheduler.errors import Unavailable
from overbook.scheduler.hearing import Hearing, Listener
from overbook.wire import scheduler_pb2 as pb

MAX_QUESTIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """An agent's answer to a command; ``reason`` is for people."""

    ok: bool
    reason: str


class Link(Listener):
    """One agent's session. ``reset``: it needs a full sync. ``secrets``: it does not know those that there are."""

    def __init__(self, replica: ReplicaId) -> None:
        super().__init__(str(replica))
        self.replica = replica
        self.wake = asyncio.Event()
        self.wake.set()
        self.closed = False
        self.reset = True
        self.secrets = True
        self.models: set[str] = set()
        self.configure = False
        self.questions: deque[pb.SchedulerToAgent] = deque()
        self.waiting: dict[int, asyncio.Future[pb.AgentToScheduler]] = {}

    def mark(self, models: Iterable[str]) -> None:
        self.change()
        if not self.reset:
            self.models.update(models)
        self.wake.set()

    def close(self) -> None:
        """Ends the session; questions that wait for an answer fail."""
        self.closed = True
        self.wake.set()
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(
                    Unavailable(f"the agent of {self.replica} went away; try again")
                )
        self.waiting.clear()


class Links:
    """Links by replica."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._links: dict[ReplicaId, Link] = {}
        self._ids = itertools.count(1)
        self.came = asyncio.Event()  # set when an agent connects; cleared by who waits for that

    def open(self, link: Link) -> None:
        """From now on this session speaks for its replica; an older one is closed."""
        older = self._links.get(link.replica)
        if older is not None:
            older.close()
            self._hearing.leave(older)
        self._links[link.replica] = link
        self.came.set()

    def close(self, link: Link) -> bool:
        """Ends a session; False when a newer one has taken over."""
        link.close()
        self._hearing.leave(link)
        if self._links.get(link.replica) is not link:
            return False
        del self._links[link.replica]
        return True

    def __contains__(self, replica: ReplicaId) -> bool:
        return replica in self._links

    def is_current(self, link: Link) -> bool:
        return self._links.get(link.replica) is link

    def of(self, replicas: Iterable[ReplicaId]) -> list[Link]:
        """The sessions of those of these replicas whose agents are connected."""
        return [link for each in replicas if (link := self._links.get(each)) is not None]

    def mark(self, replica: ReplicaId, models: Iterable[str]) -> None:
        link = self._links.get(replica)
        if link is not None:
            link.mark(models)

    def configure(self, replica: ReplicaId) -> None:
        link = self._links.get(replica)
        if link is not None:
            link.configure = True
            link.wake.set()

    def tell_secrets(self) -> None:
        """Every agent gets all secrets."""
        for link in self._links.values():
            link.secrets = True
            link.wake.set()

    def reset(self) -> None:
        """Every agent gets a full sync."""
        for link in self._links.values():
            link.change()
            link.reset = link.secrets = True
            link.wake.set()

    async def command(
        self, replica: ReplicaId, kind: pb.Command.Kind.ValueType, model: str, timeout: float
    ) -> Outcome:
        """Sends a command and waits for its result. Raises Unavailable when none comes in time."""
        number = next(self._ids)
        command = pb.Command(id=number, kind=kind, model=model, timeout_seconds=timeout)
        asked = pb.SchedulerToAgent(command=command)
        # The agent keeps to the timeout itself; the second is for its answer's way.
        answer = (await self._ask(replica, number, asked, timeout, way=1.0)).command_result
        return Outcome(answer.ok, plain_text(answer.reason))

    async def look(
        self, replica: ReplicaId, artifacts: Sequence[pb.Artifact], timeout: float
    ) -> Sequence[pb.ArtifactSurvey]:
        """Asks what is at these addresses, as the agent sees it. Raises Unavailable when no answer comes in time."""
        number = next(self._ids)
        asked = pb.SchedulerToAgent(look=pb.Look(id=number, artifacts=artifacts))
        return (await self._ask(replica, number, asked, timeout)).surveys.artifacts

    async def read_log(self, replica: ReplicaId, asked: pb.ReadLog, timeout: float) -> pb.LogPiece:
        """Asks for lines of the inference server's log. Raises Unavailable when no answer comes in time."""
        asked.id = next(self._ids)
        question = pb.SchedulerToAgent(read_log=asked)
        return (await self._ask(replica, asked.id, question, timeout)).log

    async def _ask(
        self,
        replica: ReplicaId,
        number: int,
        question: pb.SchedulerToAgent,
        timeout: float,
        way: float = 0.0,
    ) -> pb.AgentToScheduler:
        link = self._links.get(replica)
        if link is None:
            raise Unavailable(f"the agent of {replica} is not connected; try again")
        if len(link.waiting) >= MAX_QUESTIONS:
            raise Unavailable(
                f"{MAX_QUESTIONS} commands are waiting for {replica} already; try again later"
            )
        future: asyncio.Future[pb.AgentToScheduler] = asyncio.get_running_loop().create_future()
        link.waiting[number] = future
        link.questions.append(question)
        link.wake.set()
        try:
            async with asyncio.timeout(timeout + way):
                return await future
        except TimeoutError:
            raise Unavailable(f"{replica} gave no answer within {timeout:g} s; try again") from None
        finally:
            link.waiting.pop(number, None)

    def answered(self, link: Link, number: int, answer: pb.AgentToScheduler) -> None:
        """Hands an agent's answer to who asked; late ones are ignored."""
        future = link.waiting.get(number)
        if future is not None and not future.done():
            future.set_result(answer)
