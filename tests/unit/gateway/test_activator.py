"""Where requests may go, with a real router; the agent is played here."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from overbook.gateway.activator import Activator, ActivatorLimits, Wish
from overbook.gateway.agents import Agents
from overbook.gateway.catalogue import Catalogue, CatalogueEntry
from overbook.gateway.router import Router
from overbook.gateway.snapshot.names import Protocol
from overbook.gateway.verdicts import Granted, Refusal, Refused
from overbook.gateway.xds import Feed
from overbook.wire.agent_pb2 import ActivateReply
from tests.unit.gateway.routers import router_with

_REPLICA = "server/0"
_WISH = Wish("iris", Protocol.REST, suspect=False, seconds=5.0)
_RESIDENT = ActivateReply(outcome=ActivateReply.RESIDENT)


class Agent:
    """The agent of one replica, and the catalogue that knows it. ``answers``: what is done at each question."""

    def __init__(self) -> None:
        self.answers: list[Callable[[], None]] = []
        self.asked = 0

    def find(self, model: str) -> CatalogueEntry:
        return CatalogueEntry(name=model, generation=1, replicas=(_REPLICA,), reason="")

    def link(self, replica: str) -> Agent:
        return self

    async def activate(self, model: str, *, timeout: float, suspect: bool) -> ActivateReply:
        self.asked += 1
        self.answers.pop(0)()
        return _RESIDENT


def _nothing() -> None:
    return


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
async def router() -> Router:
    return await router_with(Feed(), "iris", _REPLICA)


def _activator(agent: Agent, router: Router, limits: ActivatorLimits | None = None) -> Activator:
    return Activator(
        catalogue=cast(Catalogue, agent),
        agents=cast(Agents, agent),
        router=router,
        limits=limits or ActivatorLimits(),
        now=lambda: 1.0,
    )


async def test_what_the_agent_made_resident_may_be_used(agent: Agent, router: Router) -> None:
    agent.answers = [_nothing]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)


async def test_a_withdrawal_that_overtakes_the_answer_makes_it_void(
    agent: Agent, router: Router
) -> None:
    def overtaken() -> None:
        router.make_hot(_REPLICA, ["iris"])
        router.forget_hot(_REPLICA)

    agent.answers = [overtaken, _nothing]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 2


async def test_one_that_was_taken_back_itself_does_not(agent: Agent, router: Router) -> None:
    def rescued() -> None:
        router.make_hot(_REPLICA, ["iris"])
        router.forget_hot(_REPLICA)
        router.make_hot(_REPLICA, ["iris"])

    agent.answers = [rescued]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 1


async def test_who_is_hot_is_not_refused_because_many_wait_for_others(
    agent: Agent, router: Router
) -> None:
    activator = _activator(agent, router, ActivatorLimits(waiting=0))
    refused = await activator.activate(_WISH)
    assert isinstance(refused, Refused)
    assert refused.refusal is Refusal.OVERLOADED
    router.make_hot(_REPLICA, ["iris"])
    assert await activator.activate(_WISH) == Granted("rest/iris/0", asked=False)
    assert agent.asked == 0


async def test_a_suspect_is_asked_about_however_hot_it_is(agent: Agent, router: Router) -> None:
    router.make_hot(_REPLICA, ["iris"])
    agent.answers = [_nothing]
    suspect = Wish("iris", Protocol.REST, suspect=True, seconds=5.0)
    assert await _activator(agent, router).activate(suspect) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 1
