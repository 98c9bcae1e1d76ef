from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, cast

import pytest

from overbook.gateway import drain
from overbook.gateway.admin import Admin
from overbook.gateway.drain import DrainWatch
from overbook.gateway.grants import Tally
from overbook.gateway.places import Place
from overbook.gateway.snapshot.names import PlaceCount

_EVER: Final = 3600.0
_KEY: Final = ("a", 0)


class Scrapes:
    """Envoy's statistics, which answer when they are told to. ``count``: of the place in slot 0 of model "a"."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self.count = PlaceCount()

    async def next(self) -> asyncio.Future[None]:
        """The next that begins."""
        return await asyncio.wait_for(self.begun.get(), 5)

    async def stats(self, pattern: str) -> str:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun.put_nowait(answer)
        # Where it says as little as it can, Envoy knows of no request that ended or is there.
        said = "".join(
            f'envoy_cluster_upstream_rq_{kind}{{envoy_cluster_name="rest/a/0"}} {value}\n'
            for kind, value in (("total", self.count.total), ("active", self.count.active))
            if value
        )
        await answer
        return said


class Time:
    now = 100.0


@pytest.fixture
def scrapes() -> Scrapes:
    return Scrapes()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def watch(
    scrapes: Scrapes, time: Time, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DrainWatch]:
    monkeypatch.setattr(drain, "_POLL_SECONDS", 0.0)
    watch = DrainWatch(cast(Admin, scrapes), lambda: time.now)
    running = asyncio.create_task(watch.run())
    yield watch
    running.cancel()


def place(*, direct: bool = False, granted_at: float = 50.0, since: int = 0) -> Place:
    """``since``: requests let through to it since Envoy's counter was known to have all of them, then 10."""
    return Place(
        "a", "server/0", 0, direct=direct, granted_at=granted_at, tally=Tally(level=10, since=since)
    )


async def test_who_comes_during_a_scrape_is_served_by_the_next_without_a_pause(
    watch: DrainWatch, scrapes: Scrapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_POLL_SECONDS", _EVER)
    first = asyncio.create_task(watch.wait_idle(place(direct=True)))
    scrape = await scrapes.next()
    second = asyncio.create_task(watch.wait_idle(Place("b", "server/0", 0, direct=True)))
    await asyncio.sleep(0)
    scrape.set_result(None)
    await asyncio.wait_for(first, 5)
    assert not second.done(), "that scrape began before it asked"
    (await scrapes.next()).set_result(None)
    await asyncio.wait_for(second, 5)


async def test_the_counters_of_another_scrape_serve_when_they_have_all(
    watch: DrainWatch, scrapes: Scrapes
) -> None:
    watch.see({("b", 0): PlaceCount(1, 1), _KEY: PlaceCount(13, 0)})
    await asyncio.wait_for(watch.wait_idle(place(since=3)), 5)
    assert scrapes.begun.empty()


@pytest.mark.parametrize(
    ("draining", "seen"),
    [
        (place(since=3), PlaceCount(12, 0)),
        (place(since=3), PlaceCount(13, 1)),
        (place(direct=True), PlaceCount(13, 0)),
    ],
    ids=["one is not counted yet", "one is in flight", "some came past the gateway"],
)
async def test_else_they_do_not(
    watch: DrainWatch, scrapes: Scrapes, draining: Place, seen: PlaceCount
) -> None:
    watch.see({_KEY: seen})
    waiting = asyncio.create_task(watch.wait_idle(draining))
    scrape = await scrapes.next()
    assert not waiting.done()
    scrape.set_result(None)
    await asyncio.wait_for(waiting, 5)


async def test_a_request_that_envoy_has_not_counted_yet_is_waited_for(
    watch: DrainWatch, scrapes: Scrapes, time: Time
) -> None:
    """However long Envoy takes, as with thousands at once; not for ever, since a client may have left meanwhile."""
    draining = place(granted_at=100.0, since=1)
    scrapes.count = PlaceCount(10, 0)
    waiting = asyncio.create_task(watch.wait_idle(draining))
    for time.now in (100.03, 100.5, 100.9):
        (await scrapes.next()).set_result(None)
    (await scrapes.next()).set_result(None)
    assert not waiting.done()
    time.now = 101.1
    (await scrapes.next()).set_result(None)
    await asyncio.wait_for(waiting, 5)
    assert draining.tally == Tally(level=10, since=0)


async def test_of_many_that_envoy_has_not_counted_yet_the_last_is_waited_for_longer(
    watch: DrainWatch, scrapes: Scrapes, time: Time
) -> None:
    draining = place(granted_at=100.0, since=1500)
    waiting = asyncio.create_task(watch.wait_idle(draining))
    for time.now, counted in ((101.5, 0), (103.9, 0), (101.9, 1000)):
        scrapes.count = PlaceCount(10 + counted, 0)
        (await scrapes.next()).set_result(None)
        assert not waiting.done()
    time.now = 102.1
    (await scrapes.next()).set_result(None)
    await asyncio.wait_for(waiting, 5)
    assert draining.tally == Tally(level=1010, since=0)


async def test_one_that_was_counted_and_has_ended_need_not_be_waited_for(
    watch: DrainWatch, scrapes: Scrapes
) -> None:
    draining = place(granted_at=100.0, since=1)
    waiting = asyncio.create_task(watch.wait_idle(draining))
    scrape = await scrapes.next()
    assert not waiting.done()
    for count in (PlaceCount(11, 1), PlaceCount(11, 0)):
        scrapes.count = count
        scrape.set_result(None)
        scrape = await scrapes.next()
        assert not waiting.done()
    scrape.set_result(None)
    await asyncio.wait_for(waiting, 5)
    assert draining.tally == Tally(level=11, since=0)


async def test_where_some_came_past_the_gateway_time_must_do(
    watch: DrainWatch, scrapes: Scrapes, time: Time
) -> None:
    draining = place(direct=True)
    scrapes.count = PlaceCount(1000, 0)
    waiting = asyncio.create_task(watch.wait_idle(draining))
    scrape = await scrapes.next()
    draining.granted_at = 100.1
    draining.tally.grant()
    time.now = 101.0  # long after it, but that scrape may be older
    scrape.set_result(None)
    again = await scrapes.next()
    assert not waiting.done()
    again.set_result(None)
    await asyncio.wait_for(waiting, 5)
