"""The gateways that route by this agent's residency: what each still has to be told, and what each has answered.

No decision is made here: the actor says publish or withdraw, this tells every gateway and reports when all of
them are done. Per model only the newest message is kept, so a slow gateway costs no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from overbook.residency.events import ModelName, Ticket
from overbook.wire import agent_pb2 as pb

# Models in one HotUpdate of a resynchronisation; keeps a message far below the channel's limit.
_CHUNK = 1000


@dataclass(slots=True, eq=False)
class Follower:
    """One gateway's stream: its outbox and its requests in flight by model."""

    gateway: str
    outbox: dict[ModelName, Ticket | None] = field(default_factory=dict)  # None: publish
    address: pb.ServerAddress | None = None
    reset: bool = True
    in_flight: dict[ModelName, int] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, hot: Iterable[ModelName]) -> list[pb.AgentToGateway]:
        """The messages that bring this gateway up to date; empties the outbox."""
        messages: list[pb.AgentToGateway] = []
        self.wake.clear()
        if self.address is not None:
            messages.append(pb.AgentToGateway(address=self.address))
            self.address = None
        outbox, self.outbox = self.outbox, {}
        if self.reset:
            self.reset = False
            models = list(hot)
            for start in range(0, max(len(models), 1), _CHUNK):
                hot_update = pb.HotUpdate(
                    reset=start == 0,
                    models=models[start : start + _CHUNK],
                    complete=start + _CHUNK >= len(models),
                )
                messages.append(pb.AgentToGateway(hot=hot_update))
        published = [model for model, ticket in outbox.items() if ticket is None]
        if published:
            messages.append(pb.AgentToGateway(hot=pb.HotUpdate(models=published)))
        for model, ticket in outbox.items():
            if ticket is not None:
                withdraw = pb.Withdraw(model=model, ticket=ticket)
                messages.append(pb.AgentToGateway(withdraw=withdraw))
        return messages


class Followers:
    """All gateways of one agent. ``on_drained`` and ``on_usage`` feed the actor."""

    def __init__(
        self,
        *,
        on_drained: Callable[[ModelName, Ticket], None],
        on_usage: Callable[[ModelName, int, bool], None],
    ) -> None:
        self._on_drained = on_drained
        self._on_usage = on_usage
        self._followers: set[Follower] = set()
        self._hot: dict[ModelName, None] = {}
        self._awaited: dict[ModelName, tuple[Ticket, set[Follower]]] = {}
        self._address = pb.ServerAddress()

    def attach(self, gateway: str) -> Follower:
        follower = Follower(gateway, address=self._address)
        self._followers.add(follower)
        return follower

    def messages_for(self, follower: Follower) -> list[pb.AgentToGateway]:
        return follower.take(self._hot)

    def detach(self, follower: Follower) -> None:
        """A gateway that went away withdraws nothing more and has nothing in flight that could be counted."""
        self._followers.discard(follower)
        counted, follower.in_flight = follower.in_flight, {}
        for model in counted:
            self._on_usage(model, self._in_flight(model), False)
        for model, (ticket, _) in list(self._awaited.items()):
            self.withdrawn(follower, model, ticket)

    def set_address(self, address: pb.ServerAddress) -> None:
        self._address = address
        for follower in self._followers:
            follower.address = address
            follower.wake.set()

    def publish(self, model: ModelName) -> None:
        self._hot[model] = None
        self._awaited.pop(model, None)
        self._tell(model, None)

    def withdraw(self, model: ModelName, ticket: Ticket) -> None:
        self._hot.pop(model, None)
        self._awaited[model] = (ticket, set(self._followers))
        self._tell(model, ticket)
        self._check(model)

    def withdraw_all(self) -> None:
        """The inference server is gone: nothing is hot, nobody is asked to drain, and gateways look elsewhere."""
        self._address = pb.ServerAddress(epoch=self._address.epoch)
        self._hot.clear()
        self._awaited.clear()
        for follower in self._followers:
            follower.outbox.clear()
            follower.in_flight.clear()
            follower.reset = True
            follower.address = self._address
            follower.wake.set()

    def withdrawn(self, follower: Follower, model: ModelName, ticket: Ticket) -> None:
        """A gateway's answer. One to an older withdrawal is ignored: the model was rescued meanwhile."""
        awaited = self._awaited.get(model)
        if awaited is not None and awaited[0] == ticket:
            awaited[1].discard(follower)
            self._check(model)

    def usage(self, follower: Follower, model: ModelName, in_flight: int, requests: int) -> None:
        before = follower.in_flight.get(model, 0)
        if in_flight:
            follower.in_flight[model] = in_flight
        else:
            follower.in_flight.pop(model, None)
        self._on_usage(model, self._in_flight(model), bool(in_flight or requests or before))

    def _in_flight(self, model: ModelName) -> int:
        return sum(follower.in_flight.get(model, 0) for follower in self._followers)

    def _tell(self, model: ModelName, ticket: Ticket | None) -> None:
        for follower in self._followers:
            follower.outbox[model] = ticket
            follower.wake.set()

    def _check(self, model: ModelName) -> None:
        ticket, missing = self._awaited[model]
        if not missing:
            del self._awaited[model]
            self._on_drained(model, ticket)
