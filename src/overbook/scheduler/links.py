"""The agents that are connected now: what each must still be told, and commands that wait for their result.

As in `catalogue`, a link holds names and no messages. Only the newest session of a replica counts.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from overbook.placement import ReplicaId
from overbook.scheduler.errors import Unavailable
from overbook.scheduler.hearing import Hearing, Listener
from overbook.wire import scheduler_pb2 as pb

MAX_COMMANDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """An agent's answer to a command; ``reason`` is for people."""

    ok: bool
    reason: str


class Link(Listener):
    """One agent's session. ``reset``: it needs a full sync."""

    def __init__(self, replica: ReplicaId) -> None:
        super().__init__(str(replica))
        self.replica = replica
        self.wake = asyncio.Event()
        self.wake.set()
        self.closed = False
        self.reset = True
        self.models: set[str] = set()
        self.configure = False
        self.commands: deque[pb.Command] = deque()
        self.waiting: dict[int, asyncio.Future[Outcome]] = {}

    def mark(self, models: Iterable[str]) -> None:
        self.change()
        if not self.reset:
            self.models.update(models)
        self.wake.set()

    def close(self) -> None:
        """Ends the session; commands that wait fail."""
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

    def open(self, link: Link) -> None:
        """From now on this session speaks for its replica; an older one is closed."""
        older = self._links.get(link.replica)
        if older is not None:
            older.close()
            self._hearing.leave(older)
        self._links[link.replica] = link

    def close(self, link: Link) -> bool:
        """Ends a session; False when a newer one has taken over."""
        link.close()
        self._hearing.leave(link)
        if self._links.get(link.replica) is not link:
            return False
        del self._links[link.replica]
        return True

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

    def reset(self) -> None:
        """Every agent gets a full sync."""
        for link in self._links.values():
            link.change()
            link.reset = True
            link.wake.set()

    async def command(
        self, replica: ReplicaId, kind: pb.Command.Kind.ValueType, model: str, timeout: float
    ) -> Outcome:
        """Sends a command and waits for its result. Raises Unavailable when none comes in time."""
        link = self._links.get(replica)
        if link is None:
            raise Unavailable(f"the agent of {replica} is not connected; try again")
        if len(link.waiting) >= MAX_COMMANDS:
            raise Unavailable(f"{MAX_COMMANDS} commands wait for {replica} already; try later")
        number = next(self._ids)
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        link.waiting[number] = future
        link.commands.append(pb.Command(id=number, kind=kind, model=model, timeout_seconds=timeout))
        link.wake.set()
        try:
            # The agent keeps to the timeout itself; the second is for its answer's way.
            async with asyncio.timeout(timeout + 1.0):
                return await future
        except TimeoutError:
            raise Unavailable(f"{replica} gave no answer within {timeout:g} s; try again") from None
        finally:
            link.waiting.pop(number, None)

    def result(self, link: Link, number: int, outcome: Outcome) -> None:
        """An agent's answer; late ones are ignored."""
        future = link.waiting.get(number)
        if future is not None and not future.done():
            future.set_result(outcome)
