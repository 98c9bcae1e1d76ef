from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from overbook.gateway import xds
from overbook.gateway.snapshot import clusters
from overbook.gateway.xds import CLUSTER_TYPE, SECRET_TYPE, Feed

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

    def ask(self, type_: str, *names: str) -> None:
        """A request that answers nothing."""
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_, resource_names_subscribe=names
        )
        self._requests.put_nowait(request)

    async def next_push(self, *more: str) -> list[str]:
        """``more``: what is asked for with the answer to it."""
        async with asyncio.timeout(5):
            push = await anext(self._pushes)
        reply = discovery_pb2.DeltaDiscoveryRequest(
            type_url=push.type_url, response_nonce=push.nonce, resource_names_subscribe=more
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


async def test_secrets_go_to_who_asks_for_them(
    feed: Feed, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xds, "_COMPANY_SECONDS", 0.0)
    for name in ("one", "other"):
        feed.put(secret_pb2.Secret(name=name))
    envoy.ask(SECRET_TYPE, "one")
    assert await envoy.next_push() == ["one", "other"]
    # It had not asked for that one, and took no notice of it.
    envoy.ask(SECRET_TYPE, "other", "unknown")
    assert await envoy.next_push("one") == ["other"]
    assert await envoy.next_push() == ["one"]


async def test_a_new_secret_is_pushed_before_clusters(
    feed: Feed, envoy: Envoy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xds, "_COMPANY_SECONDS", 0.0)
    envoy.ask(SECRET_TYPE, "one")
    assert await envoy.next_push() == []
    feed.put(clusters.mark("model"))
    revision = feed.put(secret_pb2.Secret(name="one"))
    waiting = asyncio.create_task(feed.wait_acked(revision, 5))
    assert await envoy.next_push() == ["one"]
    assert await envoy.next_push() == ["model"]
    feed.put(clusters.mark("next"))
    await envoy.next_push()
    await waiting
