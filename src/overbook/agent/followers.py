"""The gateways that route by this agent's residency: what each still has to be told, and what each has answered.

No decision is made here: the actor says publish or withdraw, this tells every gateway and reports when all of
them are done. Per model only the newest message is kept, so a slow gateway costs no memory.

What a call of a gateway was granted is kept until it says that this was passed on, or until its stream is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.wire import agent_pb2 as pb

# Models in one HotUpdate of a resynchronisation; keeps a message far below the channel's limit.
_CHUNK: Final = 1000
# Calls of which a gateway said Passed before they were granted: it gave them up, and may have been too late.
_GIVEN_UP: Final = 1000


@dataclass(slots=True, eq=False)
class Follower:
    """One gateway's stream: its outbox and its requests in flight by model.

    ``granted``: its calls that were granted and not passed on yet. ``let_through``: requests, since the
    server started.
    """

    gateway: str
    outbox: dict[ModelName, Ticket | None] = field(default_factory=dict)  # None: publish
    address: pb.ServerAddress | None = None
    reset: bool = True
    in_flight: dict[ModelName, int] = field(default_factory=dict)
    granted: dict[int, RequestId] = field(default_factory=dict)
    given_up: dict[int, None] = field(default_factory=dict)
    let_through: dict[ModelName, int] = field(default_factory=dict)
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
    """All gateways of one agent. The three callables feed the actor."""

    def __init__(
        self,
        *,
        on_withdrawn: Callable[[ModelName, Ticket], None],
        on_passed: Callable[[RequestId], None],
        on_usage: Callable[[ModelName, int, bool], None],
    ) -> None:
        self._on_withdrawn = on_withdrawn
        self._on_passed = on_passed
        self._on_usage = on_usage
        self._followers: set[Follower] = set()
        self._by_name: dict[str, Follower] = {}
        self._hot: dict[ModelName, None] = {}
        self._awaited: dict[ModelName, tuple[Ticket, set[Follower]]] = {}
        self._address = pb.ServerAddress()

    def attach(self, gateway: str) -> Follower:
        follower = Follower(gateway, address=self._address)
        self._followers.add(follower)
        before = self._by_name.get(gateway)
        self._by_name[gateway] = follower
        if before is not None:
            self._pass_all(before)  # the end of its stream was not noticed yet
        return follower

    def messages_for(self, follower: Follower) -> list[pb.AgentToGateway]:
        return follower.take(self._hot)

    def detach(self, follower: Follower) -> None:
        """A gateway that went away withdraws nothing more and has nothing in flight that could be counted."""
        self._followers.discard(follower)
        if self._by_name.get(follower.gateway) is follower:
            del self._by_name[follower.gateway]
        counted, follower.in_flight = follower.in_flight, {}
        for model in counted:
            self._on_usage(model, self._in_flight(model), False)
        for model, (ticket, _) in list(self._awaited.items()):
            self.withdrawn(follower, model, ticket)
        self._pass_all(follower)

    def set_address(self, address: pb.ServerAddress) -> None:
        self._address = address
        for follower in self._followers:
            follower.let_through.clear()
            follower.address = address
            follower.wake.set()

    def leave(self) -> None:
        """Gateways prefer other replicas from now on; what they let through is counted as before."""
        self._address = pb.ServerAddress(epoch=self._address.epoch)
        for follower in self._followers:
            follower.address = self._address
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
            follower.granted.clear()
            follower.let_through.clear()
            follower.reset = True
            follower.address = self._address
            follower.wake.set()

    def withdrawn(self, follower: Follower, model: ModelName, ticket: Ticket) -> None:
        """A gateway's answer. One to an older withdrawal is ignored: the model was rescued meanwhile."""
        awaited = self._awaited.get(model)
        if awaited is not None and awaited[0] == ticket:
            awaited[1].discard(follower)
            self._check(model)

    def let_through(self, follower: Follower, model: ModelName, count: int, epoch: int) -> None:
        """So many requests has a gateway let through to the model since the server's epoch began."""
        if epoch == self._address.epoch:
            follower.let_through[model] = count

    def granted(self, gateway: str, call: int, request: RequestId) -> None:
        """The gateway's call was granted. Where nobody will say when it is passed on, it is so at once."""
        follower = self._by_name.get(gateway)
        if follower is None:
            self._on_passed(request)
        elif call in follower.given_up:
            del follower.given_up[call]
            self._on_passed(request)
        else:
            follower.granted[call] = request

    def passed(self, follower: Follower, calls: Iterable[int]) -> None:
        """Whoever waited for these calls was let through, or has left."""
        for call in calls:
            request = follower.granted.pop(call, None)
            if request is not None:
                self._on_passed(request)
                continue
            follower.given_up[call] = None
            if len(follower.given_up) > _GIVEN_UP:
                del follower.given_up[next(iter(follower.given_up))]

    def passed_on(self, model: ModelName) -> dict[str, int]:
        """How many requests each gateway has let through to the model since the server started."""
        return {
            follower.gateway: follower.let_through[model]
            for follower in self._by_name.values()
            if model in follower.let_through
        }

    def _pass_all(self, follower: Follower) -> None:
        """Nobody will say any more what became of its requests."""
        granted, follower.granted = follower.granted, {}
        for request in granted.values():
            self._on_passed(request)

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
            self._on_withdrawn(model, ticket)
