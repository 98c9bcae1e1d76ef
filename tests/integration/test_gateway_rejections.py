"""What Envoy really refuses: the last good one stays, and nobody else's withdrawal or activation hears of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from envoy.config.cluster.v3 import cluster_pb2

from overbook.gateway.errors import SnapshotRejected
from tests.integration.gateway_fakes import World, eventually, running_world

MODELS = {"iris": [0], "wine": [0]}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world(MODELS) as running:
        yield running


def _impossible(name: str) -> cluster_pb2.Cluster:
    """A cluster that no Envoy takes: it never waits for a connection."""
    made = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC)
    made.connect_timeout.FromSeconds(0)
    return made


async def test_a_rejection_ends_no_link_and_holds_up_no_other_model(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.make_hot("iris", "wine")
    feed = world.gateway.feed
    with caplog.at_level(logging.ERROR):
        # Both go in one push.
        refused = feed.put(_impossible("impossible"), can_wait=True)
        withdrawal = world.agent.withdraw("iris")
        await asyncio.wait_for(withdrawal, 5)
        await eventually(lambda: feed.acked >= refused)
    assert "Envoy refused impossible, and keeps what it had" in caplog.text
    with pytest.raises(SnapshotRejected):
        await feed.wait_acked(refused, 5)
    # The links live: what comes next is heard and acted upon.
    assert (await world.infer("iris")).status_code == 200
    assert (await world.infer("wine")).status_code == 200
    await asyncio.wait_for(world.agent.withdraw("wine"), 5)
    feed.remove("impossible")
    await feed.wait_acked(feed.revision, 5)
    assert feed.refusal(refused) == ""


async def test_the_last_good_one_stays_until_there_is_a_better(world: World) -> None:
    await world.make_hot("iris")
    place = world.gateway.router.places.find("iris", "fake/0")
    assert place is not None
    feed = world.gateway.feed
    names = [name for kind, name in feed._wanted if name.startswith("rest/iris/")]
    assert len(names) == 1
    revision = feed.put(_impossible(names[0]))
    with pytest.raises(SnapshotRejected):
        await feed.wait_acked(revision, 5)
    assert (await world.infer("iris")).status_code == 200
