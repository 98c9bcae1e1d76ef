from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from envoy.config.route.v3 import route_pb2

from overbook.gateway.own_routes import BUSY, MOST, Busiest, OwnRoutes
from overbook.gateway.snapshot.asking import Asking
from overbook.gateway.snapshot.clusters import Endpoint, Fallback
from overbook.gateway.xds import ROUTE_TYPE, Feed

ENDPOINT = Endpoint("127.0.0.1:1", http2=False, keeps_connections=True)
OTHER = Endpoint("127.0.0.1:2", http2=False, keeps_connections=True)


def always(_: str) -> bool:
    return True


def test_a_burst_is_not_busy() -> None:
    busiest = Busiest()
    busiest.review({"a": 10 * BUSY}, always)
    busiest.review({}, always)
    busiest.review({"a": 10 * BUSY}, always)
    assert busiest.chosen == set()
    busiest.review({"a": BUSY}, always)
    assert busiest.chosen == {"a"}


def test_a_pause_changes_nothing_but_a_long_calm_does() -> None:
    busiest = Busiest()
    for _ in range(2):
        busiest.review({"a": BUSY}, always)
    for _ in range(29):
        busiest.review({"a": 1.0}, always)
    busiest.review({"a": BUSY}, always)
    for _ in range(29):
        busiest.review({}, always)
    assert busiest.chosen == {"a"}
    busiest.review({}, always)
    assert busiest.chosen == set()


def test_who_may_not_have_one_has_none() -> None:
    busiest = Busiest()
    for _ in range(3):
        busiest.review({"a": BUSY, "b": BUSY}, lambda model: model == "a")
    assert busiest.chosen == {"a"}
    busiest.review({"a": BUSY}, lambda _: False)
    assert busiest.chosen == set()


def test_there_are_never_too_many_and_the_busiest_come_first() -> None:
    busiest = Busiest()
    rates = {f"m{number}": BUSY + number for number in range(2 * MOST)}
    for _ in range(5):
        busiest.review(rates, always)
    assert busiest.chosen == {f"m{number}" for number in range(MOST, 2 * MOST)}


class World:
    """`OwnRoutes` on a feed that nobody follows; ``endpoints``: of the models that may have a route."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.tables: list[Sequence[str]] = []
        self.endpoints: dict[str, Endpoint] = {"a": ENDPOINT}
        self.active: dict[tuple[str, int], int] = {}
        self.own = OwnRoutes(self.feed, Fallback(), self._table)
        self.own.ask(None)
        self.now = 0.0
        self.own.review(self.now, self.endpoints.get, self.active)

    def _table(self, models: Sequence[str]) -> route_pb2.RouteConfiguration:
        self.tables.append(models)
        return route_pb2.RouteConfiguration(name="data")

    def second(self, requests: int = 0) -> None:
        self.own.count("a", requests)
        self.now += 1.0
        self.own.review(self.now, self.endpoints.get, self.active)


@pytest.fixture
def world() -> World:
    made = World()
    for _ in range(2):
        made.second(requests=1000)
    return made


def test_the_cluster_is_there_before_the_route(world: World) -> None:
    assert world.tables == [[], ["a"]]
    assert "own/a" in world.feed


def test_looks_between_the_periods_decide_nothing() -> None:
    world = World()
    world.own.count("a", 1000)
    for _ in range(9):
        world.now += 0.1
        world.own.review(world.now, world.endpoints.get, world.active)
    assert world.tables == [[]]


def test_a_withdrawal_changes_the_cluster_and_no_route(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = _spy(world, monkeypatch)
    world.own.level("a", None)
    world.own.level("a", None)
    assert [cluster.alt_stat_name for cluster in put] == ["own-withdrawn"]
    world.own.level("a", ENDPOINT)
    world.own.level("a", OTHER)
    assert [cluster.alt_stat_name for cluster in put[1:]] == ["rest/a/0", "rest/a/0"]
    world.own.level("b", None)
    assert len(put) == 3
    assert len(world.tables) == 2


async def test_the_cluster_goes_when_envoy_knows_and_nothing_is_in_flight(world: World) -> None:
    world.endpoints.clear()
    world.own.level("a", None)
    world.active[("a", 0)] = 1
    world.second()
    assert world.tables[-1] == []
    world.second()
    assert "own/a" in world.feed
    world.feed._acknowledge(world.feed.revision)
    world.second()
    assert "own/a" in world.feed
    world.active.clear()
    world.second()
    assert "own/a" not in world.feed


async def test_one_that_comes_back_keeps_its_cluster(world: World) -> None:
    gone = dict(world.endpoints)
    world.endpoints.clear()
    world.own.level("a", None)
    world.second()
    world.endpoints.update(gone)
    world.own.level("a", ENDPOINT)
    for _ in range(2):
        world.second(requests=1000)
    world.feed._acknowledge(world.feed.revision)
    world.second(requests=1000)
    assert world.tables[-1] == ["a"]
    assert "own/a" in world.feed


def _spy(world: World, monkeypatch: pytest.MonkeyPatch) -> list[route_pb2.RouteConfiguration]:
    put: list[route_pb2.RouteConfiguration] = []
    original: Callable[..., int] = world.feed.put

    def spying(message: route_pb2.RouteConfiguration) -> int:
        put.append(message)
        return original(message)

    monkeypatch.setattr(world.feed, "put", spying)
    return put


def test_nobody_gets_in_before_it_is_said_whether_tokens_are_asked_for() -> None:
    feed = Feed()
    own = OwnRoutes(feed, Fallback(), lambda _: route_pb2.RouteConfiguration(name="open"))
    assert [name for _, name in feed._wanted] == ["data"]
    own.ask(None)
    assert "open" in {name for _, name in feed._wanted}


def test_what_envoy_knows_already_is_not_pushed_again() -> None:
    world = World()
    asked = world.own.ask(Asking(*"abcdefghij"))
    assert world.own.ask(Asking(*"abcdefghij")) == asked == world.feed.revision
    assert world.own.ask(None) > asked


def test_where_tokens_are_asked_for_the_busiest_have_routes_that_ask() -> None:
    world = World()
    world.own.ask(Asking(*"abcdefghij"))
    for _ in range(3):
        world.second(int(2 * BUSY))
    assert "own/a" in world.feed
    told = route_pb2.RouteConfiguration.FromString(
        world.feed._wanted[ROUTE_TYPE, "data"].resource.value
    )
    assert [each.extension.name for each in told.cluster_specifier_plugins] == ["busy"]
    assert [
        each.match.path
        for each in told.virtual_hosts[0].routes
        if each.route.cluster_specifier_plugin == "busy"
    ] == ["/v2/models/a/infer"]
    assert world.tables == [[]]
