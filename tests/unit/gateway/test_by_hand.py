"""Loads and evictions that somebody asks for, on all replicas of a model; the agents are played here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from overbook.gateway.agents import Agents, AgentUnreachable
from overbook.gateway.by_hand import ByHand
from overbook.gateway.catalogue import Catalogue
from overbook.gateway.oip.errors import NoAnswer, NotAllowed, NotAvailable, UnknownModel
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.router import ServerAddresses
from overbook.gateway.xds import Feed
from overbook.wire import scheduler_pb2
from overbook.wire.agent_pb2 import ActivateReply, ActivateRequest, EvictReply
from overbook.wire.common_pb2 import ReplicaRef
from tests.unit.gateway.routers import router_with

RESIDENT = ActivateReply(outcome=ActivateReply.RESIDENT)


@dataclass(slots=True)
class Link:
    """An agent. ``held``: how many calls are not over."""

    activation: ActivateReply = field(default_factory=lambda: RESIDENT)
    eviction: EvictReply = field(default_factory=EvictReply)
    gone: bool = False
    requests: list[ActivateRequest] = field(default_factory=list)
    evicted: list[tuple[str, float]] = field(default_factory=list)
    held: int = 0

    async def ask(self, request: ActivateRequest) -> ActivateReply:
        self.requests.append(request)
        if self.gone:
            raise AgentUnreachable("agent of s/0: it is away")
        return self.activation

    async def evict(self, model: str, *, timeout: float) -> EvictReply:
        if self.gone:
            raise AgentUnreachable("agent of s/0: it is away")
        self.evicted.append((model, timeout))
        return self.eviction

    def call(self, model: str, *, timeout: float, suspect: bool) -> Link:
        self.held += 1
        return self

    async def reply(self) -> ActivateReply:
        return await self.ask(ActivateRequest())

    def over(self) -> None:
        self.held -= 1


@dataclass(slots=True)
class Played:
    links: dict[str, Link | None]

    def link(self, replica: str) -> Link | None:
        return self.links[replica]


@dataclass(slots=True)
class Scene:
    by_hand: ByHand
    one: Link
    two: Link
    agents: Played


@pytest.fixture
async def scene() -> Scene:
    catalogue, feed = Catalogue(), Feed()
    refs = [ReplicaRef(server="s", replica=number) for number in (0, 1)]
    models = [
        scheduler_pb2.CatalogueModel(name="iris", replicas=refs, activation_timeout_seconds=7.0),
        scheduler_pb2.CatalogueModel(name="huge", reason="the largest budget is 2 GiB"),
    ]
    catalogue.apply(scheduler_pb2.CatalogueUpdate(reset=True, models=models, complete=True))
    router = await router_with(feed, "iris")
    await router.set_address("s/0", ServerAddresses(rest="h:1", grpc="h:2"))
    await router.set_address("s/1", ServerAddresses(rest="h:3", grpc="h:4"))
    router.make_hot("s/1", ["iris"])
    agents = Played({"s/0": Link(), "s/1": Link()})
    one, two = agents.links["s/0"], agents.links["s/1"]
    assert one is not None
    assert two is not None
    by_hand = ByHand(catalogue, cast(Agents, agents), router, timeout=60.0)
    return Scene(by_hand, one, two, agents)


async def test_all_replicas_are_asked_and_what_failed_is_tried_again(scene: Scene) -> None:
    await scene.by_hand.load("iris")
    for link in (scene.one, scene.two):
        (request,) = link.requests
        assert (request.model, request.again, request.gateway) == ("iris", True, "")
        assert request.timeout_seconds == 7.0
    await scene.by_hand.unload("iris")
    assert scene.one.evicted == scene.two.evicted == [("iris", 7.0)]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (ActivateReply(outcome=ActivateReply.LOAD_FAILED, reason="bad pickle"), "bad pickle"),
        (ActivateReply(outcome=ActivateReply.NOT_ASSIGNED), "not assigned"),
    ],
)
async def test_one_replica_that_does_not_load_it_is_told(
    scene: Scene, reply: ActivateReply, says: str
) -> None:
    scene.two.activation = reply
    with pytest.raises(NotAvailable, match=f"model 'iris': {says}"):
        await scene.by_hand.load("iris")


@pytest.mark.parametrize(
    ("refused", "kind"), [(True, NotAllowed), (False, NotAvailable)], ids=["pinned", "in use"]
)
async def test_one_replica_that_keeps_it_is_told(
    scene: Scene, refused: bool, kind: type[NoAnswer]
) -> None:
    scene.one.eviction = EvictReply(reason="it stays", refused=refused)
    with pytest.raises(kind, match="it stays"):
        await scene.by_hand.unload("iris")


async def test_who_cannot_be_asked_is_told(scene: Scene) -> None:
    scene.one.gone = True
    for wish in (scene.by_hand.load, scene.by_hand.unload):
        with pytest.raises(NotAvailable, match="it is away"):
            await wish("iris")
    scene.agents.links["s/0"] = None
    with pytest.raises(NotAvailable, match="the agent of s/0 is not known yet"):
        await scene.by_hand.load("iris")
    with pytest.raises(NotAvailable, match="not scheduled: the largest budget is 2 GiB"):
        await scene.by_hand.load("huge")
    with pytest.raises(UnknownModel):
        await scene.by_hand.unload("nobody")


async def test_a_model_is_held_while_its_servers_are_asked(scene: Scene) -> None:
    async with scene.by_hand.resident("iris", everywhere=False) as where:
        assert where == [ServerAddress("h:3", "h:4")], "where it is in memory already"
        assert (scene.one.held, scene.two.held) == (0, 1)
    async with scene.by_hand.resident("iris", everywhere=True) as where:
        assert sorted(each.rest for each in where) == ["h:1", "h:3"]
        assert (scene.one.held, scene.two.held) == (1, 1)
    assert (scene.one.held, scene.two.held) == (0, 0)
    scene.one.activation = ActivateReply(outcome=ActivateReply.NO_ROOM)
    with pytest.raises(NotAvailable, match="no room"):
        async with scene.by_hand.resident("iris", everywhere=True):
            raise AssertionError("it is not there")
    assert (scene.one.held, scene.two.held) == (0, 0)
