from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from overbook.gateway import xds
from overbook.gateway.snapshot import clusters
from overbook.gateway.xds import CLUSTER_TYPE, Feed

_EVER: Final = 3600.0


class Envoy:
    """The other side of the feed's stream, which agrees to everything."""

    def __init__(self, feed: Feed) -> None:
        self._requests: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest] = asyncio.Queue()
        nobody: Any = None
        self._pushes: Any = feed.DeltaAggregatedResources(self._sent(), nobody)
        self._requests.put_nowait(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER_TYPE))

    async def _sent(self) -> AsyncIterator[discovery_pb2.DeltaDiscoveryRequest]:
        while True:
            yield await self._requests.get()

    async def next_push(self) -> list[str]:
        async with asyncio.timeout(5):
            push = await anext(self._pushes)
        reply = discovery_pb2.DeltaDiscoveryRequest(
            type_url=CLUSTER_TYPE, response_nonce=push.nonce
        )
        self._requests.put_nowait(reply)
        return [each.name for each in push.resources]


@pytest.fixture
async def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    monkeypatch.setattr(xds, "_COMPANY_SECONDS", _EVER)
    return Feed()


@pytest.fixture
async def envoy(feed: Feed) -> AsyncIterator[Envoy]:
    envoy = Envoy(feed)
    assert await envoy.next_push() == []
    yield envoy
    await envoy._pushes.aclose()


async def test_what_can_wait_goes_along_with_what_cannot(feed: Feed, envoy: Envoy) -> None:
    feed.put(clusters.mark("patient"), can_wait=True)
    push = asyncio.create_task(envoy.next_push())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not push.done()
    feed.put(clusters.mark("urgent"))
    assert await push == ["patient", "urgent"]


async def test_a_removal_cannot_wait(feed: Feed, envoy: Envoy) -> None:
    feed.put(clusters.mark("patient"), can_wait=True)
    feed.put(clusters.mark("leaving"))
    feed.remove("leaving")
    assert await envoy.next_push() == ["patient"]


async def test_what_somebody_waits_for_is_pushed_at_once(feed: Feed, envoy: Envoy) -> None:
    revision = feed.put(clusters.mark("patient"), can_wait=True)
    waiting = asyncio.create_task(feed.wait_acked(revision, 5))
    assert await envoy.next_push() == ["patient"]
    acknowledged = asyncio.create_task(envoy.next_push())
    await waiting
    assert feed.acked == revision
    feed.put(clusters.mark("next"))
    assert await acknowledged == ["next"]


async def test_what_can_wait_goes_by_itself_when_nothing_else_changes(
    feed: Feed, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xds, "_COMPANY_SECONDS", 0.0)
    feed.put(clusters.mark("patient"), can_wait=True)
    assert await envoy.next_push() == ["patient"]
