"""Brings models into memory and out of it because somebody says so, as `overbook activate` and `overbook evict` do.

Asks the agents of all replicas that a model is assigned to, and works without the scheduler. Whether somebody may say
so is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Final, TypeVar

from overbook.gateway.agents import AgentCall, AgentLink, Agents, AgentUnreachable
from overbook.gateway.catalogue import Catalogue, CatalogueEntry
from overbook.gateway.oip.errors import NotAllowed, NotAvailable, UnknownModel
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.router import Router
from overbook.wire.agent_pb2 import ActivateReply, ActivateRequest

T = TypeVar("T")

_UNTOLD: Final = "no replica has room for it"


class ByHand:
    """``timeout``: seconds that a load or an eviction may take where the model does not say otherwise."""

    def __init__(
        self, catalogue: Catalogue, agents: Agents, router: Router, *, timeout: float
    ) -> None:
        self._catalogue = catalogue
        self._agents = agents
        self._router = router
        self._timeout = timeout

    async def load(self, model: str) -> None:
        """Returns when it is in memory on all its replicas. What failed is tried again. Raises NotAvailable."""
        entry = self._entry(model)
        # Nobody says when it is passed on: no request follows.
        request = ActivateRequest(model=model, timeout_seconds=self._seconds(entry), again=True)
        replies = await asyncio.gather(
            *(_asked(model, self._link(model, each).ask(request)) for each in entry.replicas)
        )
        for reply in replies:
            _check(model, reply)

    async def unload(self, model: str) -> None:
        """Returns when its memory is given back on all its replicas. Raises NotAvailable, NotAllowed."""
        entry = self._entry(model)
        seconds = self._seconds(entry)
        replies = await asyncio.gather(
            *(
                _asked(model, self._link(model, each).evict(model, timeout=seconds))
                for each in entry.replicas
            )
        )
        for reply in replies:
            if reply.reason:
                raise (NotAllowed if reply.refused else NotAvailable)(reply.reason)

    @contextlib.asynccontextmanager
    async def resident(
        self, model: str, *, everywhere: bool
    ) -> AsyncIterator[Sequence[ServerAddress]]:
        """In memory for as long as the block runs, on all its replicas or on one. Raises NotAvailable."""
        entry = self._entry(model)
        replicas = sorted(entry.replicas, key=lambda each: not self._router.is_hot(model, each))
        wanted = replicas if everywhere else replicas[:1]
        seconds = self._seconds(entry)
        calls: list[AgentCall] = []
        try:
            for each in wanted:
                link = self._link(model, each)
                calls.append(link.call(model, timeout=seconds, suspect=False))
            replies = await asyncio.gather(*(_asked(model, call.reply()) for call in calls))
            for reply in replies:
                _check(model, reply)
            yield [self._address(model, each) for each in wanted]
        finally:
            for call in calls:
                call.over()

    def _entry(self, model: str) -> CatalogueEntry:
        entry = self._catalogue.find(model)
        if entry is None:
            raise UnknownModel(f"model {model!r} is not registered any more")
        if not entry.replicas:
            raise NotAvailable(f"model {model!r} is not scheduled: {entry.reason or _UNTOLD}")
        return entry

    def _seconds(self, entry: CatalogueEntry) -> float:
        return entry.activation_timeout or self._timeout

    def _link(self, model: str, replica: str) -> AgentLink:
        link = self._agents.link(replica)
        if link is None:
            raise NotAvailable(f"model {model!r}: the agent of {replica} is not known yet")
        return link

    def _address(self, model: str, replica: str) -> ServerAddress:
        found = self._router.address(replica)
        if found is None:
            raise NotAvailable(f"model {model!r}: the inference server of {replica} is not up")
        return ServerAddress(found.rest, found.grpc)


async def _asked(model: str, asking: Awaitable[T]) -> T:
    """What an agent said. Raises NotAvailable."""
    try:
        return await asking
    except AgentUnreachable as error:
        raise NotAvailable(f"model {model!r}: {error}") from error


def _check(model: str, reply: ActivateReply) -> None:
    """Raises NotAvailable where the model is not in memory, with the reason."""
    if reply.outcome != ActivateReply.RESIDENT:
        said = reply.reason or ActivateReply.Outcome.Name(reply.outcome).lower().replace("_", " ")
        raise NotAvailable(f"model {model!r}: {said}")
