"""Where requests may go, with a real router; the agent is played here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import cast

import pytest

from overbook.gateway import activator
from overbook.gateway.activator import Activator, ActivatorLimits, Wish
from overbook.gateway.agents import Agents
from overbook.gateway.catalogue import Catalogue, CatalogueEntry
from overbook.gateway.router import Router
from overbook.gateway.snapshot.names import Protocol
from overbook.gateway.verdicts import Granted, NotServed, Refused
from overbook.gateway.xds import Feed
from overbook.wire.agent_pb2 import ActivateReply
from tests.unit.gateway.routers import router_with

_REPLICA = "server/0"
_WISH = Wish("iris", Protocol.REST, suspect=False, seconds=5.0)
_RESIDENT = ActivateReply(outcome=ActivateReply.RESIDENT)


class Call:
    """One question to the agent. ``over``: whether it was told that nobody waits for the answer any more."""

    def __init__(self, agent: Agent, timeout: float, suspect: bool) -> None:
        self._agent = agent
        self.timeout = timeout
        self.suspect = suspect
        self.is_over = False

    async def reply(self) -> ActivateReply:
        answer = self._agent.answers.pop(0)
        found = await answer if isinstance(answer, asyncio.Future) else answer()
        return found or _RESIDENT

    def over(self) -> None:
        self.is_over = True


class Agent:
    """The agent of one replica, and the catalogue that knows it.

    ``answers``: what is done at each question, which may answer, or when the answer comes.
    """

    def __init__(self) -> None:
        self.answers: list[
            Callable[[], ActivateReply | None] | asyncio.Future[ActivateReply | None]
        ] = []
        self.calls: list[Call] = []
        self.called = asyncio.Event()
        self.timeout: float | None = None

    @property
    def asked(self) -> int:
        return len(self.calls)

    def find(self, model: str) -> CatalogueEntry:
        return CatalogueEntry(
            name=model,
            generation=1,
            replicas=(_REPLICA,),
            reason="",
            activation_timeout=self.timeout,
        )

    def link(self, replica: str) -> Agent:
        return self

    def call(self, model: str, *, timeout: float, suspect: bool) -> Call:
        self.calls.append(Call(self, timeout, suspect))
        self.called.set()
        return self.calls[-1]


def _nothing() -> None:
    return


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
async def router() -> Router:
    return await router_with(Feed(), "iris", _REPLICA)


def _activator(
    agent: Agent,
    router: Router,
    limits: ActivatorLimits | None = None,
    most_waiting: Mapping[str, int] = MappingProxyType({}),
) -> Activator:
    return Activator(
        catalogue=cast(Catalogue, agent),
        agents=cast(Agents, agent),
        router=router,
        limits=limits or ActivatorLimits(),
        timeout=60.0,
        most_waiting=most_waiting.get,
        now=asyncio.get_running_loop().time,
    )


async def test_what_the_agent_made_resident_may_be_used(agent: Agent, router: Router) -> None:
    agent.answers = [_nothing]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)


async def test_a_withdrawal_that_overtakes_the_answer_does_not_make_it_void(
    agent: Agent, router: Router
) -> None:
    """The agent keeps what it granted until it hears that nobody waits for it any more."""

    def overtaken() -> None:
        router.make_hot(_REPLICA, ["iris"])
        router.forget_hot(_REPLICA)

    agent.answers = [overtaken]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 1
    assert router.grants.total(_REPLICA, "iris") == 1


async def test_who_waited_together_has_been_let_through_when_the_call_is_over(
    agent: Agent, router: Router
) -> None:
    """Also who waits for the first cluster of its protocol for longer than the model takes to load."""
    answer: asyncio.Future[ActivateReply | None] = asyncio.get_running_loop().create_future()
    agent.answers = [answer]
    activator = _activator(agent, router)
    over_grpc = Wish("iris", Protocol.GRPC, suspect=False, seconds=5.0)
    waiting = [asyncio.create_task(activator.activate(wish)) for wish in (_WISH, _WISH, over_grpc)]
    await agent.called.wait()
    answer.set_result(None)
    assert await waiting[0] == await waiting[1] == Granted("rest/iris/0", asked=True)
    assert not agent.calls[0].is_over
    router.forget_hot(_REPLICA)
    router._feed._acknowledge(router._feed.revision)
    assert await waiting[2] == Granted("grpc/iris/0", asked=True)
    assert agent.calls[0].is_over
    assert agent.asked == 1
    assert router.grants.total(_REPLICA, "iris") == 3


async def test_a_call_of_which_all_have_left_is_over(agent: Agent, router: Router) -> None:
    answer: asyncio.Future[ActivateReply | None] = asyncio.get_running_loop().create_future()
    agent.answers = [answer]
    waiting = asyncio.create_task(_activator(agent, router).activate(_WISH))
    await agent.called.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert agent.calls[0].is_over
    assert router.grants.total(_REPLICA, "iris") == 0


async def test_what_was_taken_back_before_its_cluster_was_there_is_asked_for(
    agent: Agent, router: Router
) -> None:
    router.make_hot(_REPLICA, ["iris"])
    agent.answers = [_nothing]
    over_grpc = Wish("iris", Protocol.GRPC, suspect=False, seconds=5.0)
    waiting = asyncio.create_task(_activator(agent, router).activate(over_grpc))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    router.forget_hot(_REPLICA)
    router._feed._acknowledge(router._feed.revision)
    assert await waiting == Granted("grpc/iris/0", asked=True)
    assert agent.asked == 1


async def test_who_joined_late_waits_until_its_own_time_is_over(
    agent: Agent, router: Router
) -> None:
    """What the agent says of time is about who asked first."""
    agent.answers = [lambda: ActivateReply(outcome=ActivateReply.DEADLINE), _nothing]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 2


@pytest.mark.parametrize(("model", "expected"), [(None, 60.0), (90.0, 90.0)])
async def test_a_shared_call_has_the_models_time_or_else_ours(
    agent: Agent, router: Router, model: float | None, expected: float
) -> None:
    agent.timeout = model
    agent.answers = [_nothing]
    await _activator(agent, router).activate(_WISH)
    assert agent.calls[0].timeout == expected


_INSTANT = 1e-9


def _fetching() -> ActivateReply:
    return ActivateReply(
        outcome=ActivateReply.DEADLINE,
        reason="its files are being fetched: 40% of 1GiB",
        retry_after_seconds=3.0,
    )


@pytest.mark.parametrize(("model", "client"), [(_INSTANT, 5.0), (90.0, _INSTANT)])
async def test_a_request_waits_as_long_as_model_and_client_allow(
    agent: Agent, router: Router, model: float, client: float
) -> None:
    agent.timeout = model
    agent.answers = [asyncio.get_running_loop().create_future(), _fetching]
    wish = Wish("iris", Protocol.REST, suspect=False, seconds=client)
    refused = await _activator(agent, router).activate(wish)
    assert refused == Refused(
        NotServed.DEADLINE,
        "model iris: not resident within 1e-09 s: its files are being fetched: 40% of 1GiB",
        3.0,
    )
    assert agent.calls[-1].timeout < 1.0


async def test_who_is_just_there_when_the_time_is_over_is_served(
    agent: Agent, router: Router
) -> None:
    agent.answers = [asyncio.get_running_loop().create_future(), _nothing]
    wish = Wish("iris", Protocol.REST, suspect=False, seconds=_INSTANT)
    assert await _activator(agent, router).activate(wish) == Granted("rest/iris/0", asked=True)


async def test_an_agent_that_says_nothing_is_not_waited_for(
    agent: Agent, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activator, "_LAST_WORD_SECONDS", _INSTANT)
    loop = asyncio.get_running_loop()
    agent.answers = [loop.create_future(), loop.create_future()]
    wish = Wish("iris", Protocol.REST, suspect=False, seconds=_INSTANT)
    refused = await _activator(agent, router).activate(wish)
    assert isinstance(refused, Refused)
    assert refused.reason == "model iris: not resident within 1e-09 s"


async def test_who_is_hot_is_not_refused_because_many_wait_for_others(
    agent: Agent, router: Router
) -> None:
    activator = _activator(agent, router, ActivatorLimits(waiting=0))
    refused = await activator.activate(_WISH)
    assert isinstance(refused, Refused)
    assert refused.refusal is NotServed.OVERLOADED
    router.make_hot(_REPLICA, ["iris"])
    assert await activator.activate(_WISH) == Granted("rest/iris/0", asked=False)
    assert agent.asked == 0


async def test_a_suspect_is_asked_about_however_hot_it_is(agent: Agent, router: Router) -> None:
    router.make_hot(_REPLICA, ["iris"])
    agent.answers = [_nothing]
    suspect = Wish("iris", Protocol.REST, suspect=True, seconds=5.0)
    assert await _activator(agent, router).activate(suspect) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 1


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (ActivateReply.NO_ROOM, NotServed.NO_ROOM),
        (ActivateReply.LOAD_FAILED, NotServed.LOAD_FAILED),
        (ActivateReply.OVERLOADED, NotServed.OVERLOADED),
    ],
)
async def test_what_is_final_is_answered_at_once(
    agent: Agent, router: Router, outcome: ActivateReply.Outcome.ValueType, expected: NotServed
) -> None:
    agent.answers = [lambda: ActivateReply(outcome=outcome, reason="so it is")]
    async with asyncio.timeout(1):
        refused = await _activator(agent, router).activate(_WISH)
    assert refused == Refused(expected, "model iris: so it is", expected.retry_after)
    assert agent.asked == 1


async def test_what_is_not_final_is_asked_again(agent: Agent, router: Router) -> None:
    """The agent has not heard of the model yet, or is about to stop."""
    agent.answers = [
        lambda: ActivateReply(outcome=ActivateReply.NOT_ASSIGNED),
        lambda: ActivateReply(outcome=ActivateReply.UNAVAILABLE),
        _nothing,
    ]
    assert await _activator(agent, router).activate(_WISH) == Granted("rest/iris/0", asked=True)
    assert agent.asked == 3


async def test_without_a_catalogue_nobody_says_that_a_model_does_not_exist(
    agent: Agent, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activator, "_CATALOGUE_SECONDS", 0.01)
    unheard = Activator(
        catalogue=Catalogue(),
        agents=cast(Agents, agent),
        router=router,
        limits=ActivatorLimits(),
        timeout=60.0,
        most_waiting=lambda token: None,
        now=asyncio.get_running_loop().time,
    )
    refused = await unheard.activate(_WISH)
    assert isinstance(refused, Refused)
    assert refused.refusal is NotServed.UNAVAILABLE
    assert "has not heard from the scheduler" in refused.reason


async def test_at_its_end_it_refuses_who_waits_and_who_comes_with_the_reason(
    agent: Agent, router: Router
) -> None:
    agent.answers = [asyncio.get_running_loop().create_future()]
    activator = _activator(agent, router)
    waiting = asyncio.create_task(activator.activate(_WISH))
    await agent.called.wait()
    activator.end("the gateway stops")
    refused = Refused(NotServed.UNAVAILABLE, "model iris: the gateway stops", 1.0)
    assert await waiting == refused
    router.make_hot(_REPLICA, ["iris"])
    assert await activator.activate(_WISH) == refused


async def test_a_token_that_has_all_waiting_that_it_may_keeps_no_other_waiting_or_out(
    agent: Agent, router: Router
) -> None:
    answer: asyncio.Future[ActivateReply | None] = asyncio.get_running_loop().create_future()
    agent.answers = [answer]
    activator = _activator(agent, router, most_waiting={"storm": 2})
    storm = replace(_WISH, token="storm")
    others = [_WISH, replace(_WISH, token="calm")]
    waiting = [asyncio.create_task(activator.activate(each)) for each in (storm, storm, *others)]
    await agent.called.wait()
    refused = await activator.activate(storm)
    assert isinstance(refused, Refused)
    assert refused.refusal is NotServed.TOO_MANY
    assert (refused.refusal.http, refused.refusal.grpc, refused.retry_after) == (429, 8, 1.0)
    assert "2 requests with token 'storm' wait" in refused.reason
    assert not any(each.done() for each in waiting)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    # Who has left makes room.
    again = asyncio.create_task(activator.activate(storm))
    await asyncio.sleep(0)
    assert not again.done()
    answer.set_result(None)
    assert all(isinstance(each, Granted) for each in await asyncio.gather(*waiting[1:], again))


async def test_what_is_hot_is_not_waited_for_and_not_counted(agent: Agent, router: Router) -> None:
    router.make_hot(_REPLICA, ["iris"])
    await router.open("iris", _REPLICA, Protocol.REST, now=0.0, timeout=5.0)
    activator = _activator(agent, router, most_waiting={"storm": 1})
    for _ in range(5):
        granted = await activator.activate(replace(_WISH, token="storm"))
        assert isinstance(granted, Granted)
