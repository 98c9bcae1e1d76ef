from __future__ import annotations

import asyncio

import pytest

from overbook.gateway.newcomers import GRANTS, SETTLED_SECONDS
from overbook.gateway.router import Router, ServerAddresses
from overbook.gateway.snapshot.clusters import Endpoint
from overbook.gateway.snapshot.names import Protocol
from overbook.gateway.xds import Feed
from tests.unit.gateway.routers import router_with

_REST = Endpoint("h:1", http2=False, keeps_connections=False)
_GRPC = Endpoint("h:2", http2=True, keeps_connections=True)
_MARKED = Endpoint("h:2", http2=True, keeps_connections=True, marks_unanswered=True)
_INFER = Endpoint("h:3", http2=False, keeps_connections=True, marks_unanswered=True)


@pytest.mark.parametrize(
    ("infer", "expected"),
    [
        ("", {Protocol.REST: _REST, Protocol.GRPC: _GRPC, Protocol.STREAM: _GRPC}),
        ("h:3", {Protocol.REST: _INFER, Protocol.GRPC: _INFER, Protocol.STREAM: _MARKED}),
    ],
)
def test_unary_inference_goes_to_the_endpoint_for_gateways_where_there_is_one(
    infer: str, expected: dict[Protocol, Endpoint]
) -> None:
    addresses = ServerAddresses(rest="h:1", grpc="h:2", infer=infer)
    assert {protocol: addresses.of(protocol) for protocol in Protocol} == expected


_REPLICA, _OTHER = "server/0", "server/1"
_MARK = "/v2/models/iris/infer"


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
async def router(feed: Feed) -> Router:
    return await router_with(feed, "iris", _REPLICA, _OTHER)


async def test_a_withdrawal_without_a_mark_tells_envoy_nothing(feed: Feed, router: Router) -> None:
    before = feed.revision
    router.make_hot(_REPLICA, ["iris"])
    assert router.hot_models(_REPLICA) == {"iris"}
    async with asyncio.timeout(1):
        await router.withdraw(_REPLICA, ["iris"])
    assert feed.revision == before
    place = router.places.find("iris", _REPLICA)
    assert place is not None
    assert not place.direct


async def test_a_withdrawal_waits_until_envoy_has_no_mark(feed: Feed, router: Router) -> None:
    router.make_hot(_REPLICA, ["iris"])
    for _ in range(GRANTS):
        assert _MARK not in feed
        router.grant("iris", _REPLICA, Protocol.REST, 1.0)
    assert _MARK in feed
    place = router.places.find("iris", _REPLICA)
    assert place is not None
    assert place.direct
    withdrawing = asyncio.create_task(router.withdraw(_REPLICA, ["iris"]))
    await asyncio.sleep(0)
    assert _MARK not in feed
    assert not withdrawing.done()
    # A second order finds it cold, but Envoy has not heard of the first yet.
    again = asyncio.create_task(router.withdraw(_REPLICA, ["iris"]))
    await asyncio.sleep(0)
    assert not again.done()
    assert place.direct
    feed._acknowledge(feed.revision)
    await withdrawing
    await again
    router.drained("iris", _REPLICA)
    assert not place.direct


async def test_who_stays_is_marked(feed: Feed, router: Router) -> None:
    router.make_hot(_REPLICA, ["iris"])
    router.collect({}, 10.0)
    assert _MARK not in feed
    router.collect({}, 10.0 + SETTLED_SECONDS)
    assert _MARK in feed


async def test_another_replica_of_a_marked_model_is_marked_at_once(
    feed: Feed, router: Router
) -> None:
    """Else all direct traffic would go to the first, and nothing would ever earn the second one its mark."""
    router.make_hot(_REPLICA, ["iris"])
    for _ in range(GRANTS):
        router.grant("iris", _REPLICA, Protocol.REST, 1.0)
    router.make_hot(_OTHER, ["iris"])
    assert all(name in feed for name in ("hot/rest/iris/0", "hot/rest/iris/1", "wide/iris"))
    router.forget_hot(_REPLICA)
    assert "hot/rest/iris/1" in feed
    router.forget_hot(_OTHER)
    router.make_hot(_REPLICA, ["iris"])
    assert _MARK not in feed, "it has to earn it again"


async def test_what_is_hot_again_may_still_have_direct_requests(feed: Feed, router: Router) -> None:
    router.make_hot(_REPLICA, ["iris"])
    for _ in range(GRANTS):
        router.grant("iris", _REPLICA, Protocol.REST, 1.0)
    router.forget_hot(_REPLICA)
    router.make_hot(_REPLICA, ["iris"])
    router.drained("iris", _REPLICA)
    place = router.places.find("iris", _REPLICA)
    assert place is not None
    assert place.direct


async def test_a_place_is_opened_when_envoy_has_its_cluster(feed: Feed, router: Router) -> None:
    def ready_cluster(protocol: Protocol, now: float) -> str | None:
        return router.ready_cluster("iris", _REPLICA, protocol, now=now)

    assert ready_cluster(Protocol.REST, 7.0) == "rest/iris/0"
    place = router.places.find("iris", _REPLICA)
    assert place is not None
    assert place.granted_at == 7.0
    assert ready_cluster(Protocol.GRPC, 8.0) is None, "nobody has asked for it over gRPC yet"
    opening = asyncio.create_task(
        router.open("iris", _REPLICA, Protocol.GRPC, now=8.0, timeout=5.0)
    )
    await asyncio.sleep(0)
    assert ready_cluster(Protocol.GRPC, 8.0) is None, "Envoy has not heard of it"
    feed._acknowledge(feed.revision)
    assert await opening == ready_cluster(Protocol.GRPC, 8.0) == "grpc/iris/0"
    assert router.ready_cluster("iris", "unknown/0", Protocol.REST, now=9.0) is None


async def test_what_is_let_through_is_counted_for_a_server_that_counts_too(router: Router) -> None:
    router.grants.begin(_REPLICA, 1)
    for protocol in Protocol:
        router.grant("iris", _REPLICA, protocol, 1.0)
    assert router.grants.total(_REPLICA, "iris") == 2, "streams go past where it counts"
    assert router.grants.total(_OTHER, "iris") == 0
    router.forget_replica(_REPLICA)
    assert router.grants.total(_REPLICA, "iris") == 0


async def test_a_server_knows_what_is_in_flight_but_for_streams(router: Router) -> None:
    place = router.places.find("iris", _REPLICA)
    assert place is not None
    assert not router.is_counted(place)
    counting = ServerAddresses(rest="h:1", grpc="h:2", infer="h:3", counts_requests=True)
    await router.set_address(_REPLICA, counting)
    assert router.is_counted(place)
    place.clusters[Protocol.STREAM] = 1
    assert not router.is_counted(place)


async def test_a_request_that_comes_again_is_counted_once(router: Router) -> None:
    place = router.places.find("iris", _REPLICA)
    assert place is not None
    for protocol in Protocol:
        router.grant("iris", _REPLICA, protocol, 1.0)
    for cluster in ("rest/iris/0", "stream/iris/0", "rest/unknown/0", "own/iris", "?"):
        router.take_back(cluster)
    assert router.grants.total(_REPLICA, "iris") == 1
    assert place.tally.since == 1


async def test_a_deleted_model_has_no_direct_route_however_hot_it_is(feed: Feed) -> None:
    """And has it again, without a word of its agent, once it is registered again."""
    registered = {"iris"}
    router = await router_with(feed, "iris", _REPLICA, registered=registered)
    router.make_hot(_REPLICA, ["iris"])
    for _ in range(GRANTS):
        router.grant("iris", _REPLICA, Protocol.REST, now=0.0)
    assert _MARK in feed
    registered.clear()
    revision = router.registrations_changed({"iris"})
    assert _MARK not in feed
    assert revision == feed.revision > feed.acked, "until Envoy has heard, requests may go there"
    router.make_hot(_REPLICA, ["iris"])
    assert _MARK not in feed
    registered.add("iris")
    router.registrations_changed({"iris"})
    assert _MARK in feed


async def test_a_model_that_is_hot_nowhere_is_registered_without_a_word_to_envoy(
    feed: Feed, router: Router
) -> None:
    feed._acknowledge(feed.revision)
    before = feed.revision
    assert router.registrations_changed({"iris", "new"}) <= feed.acked
    assert feed.revision == before
