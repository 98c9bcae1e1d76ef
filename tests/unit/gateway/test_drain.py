from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, cast

import pytest

from overbook.gateway import drain
from overbook.gateway.admin import Admin
from overbook.gateway.drain import DrainWatch
from overbook.gateway.places import Place

_EVER: Final = 3600.0


class Scrapes:
    """Envoy's statistics, which answer when they are told to: that nothing is in flight anywhere."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def stats(self, pattern: str) -> str:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun.put_nowait(answer)
        await answer
        return ""


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
    monkeypatch.setattr(drain, "_POLL_SECONDS", _EVER)
    watch = DrainWatch(cast(Admin, scrapes), lambda: time.now)
    running = asyncio.create_task(watch.run())
    yield watch
    running.cancel()


async def test_who_comes_during_a_scrape_is_served_by_the_next_without_a_pause(
    watch: DrainWatch, scrapes: Scrapes
) -> None:
    async with asyncio.timeout(5):
        first = asyncio.create_task(watch.wait_idle(Place("a", "server/0", 0)))
        scrape = await scrapes.begun.get()
        second = asyncio.create_task(watch.wait_idle(Place("b", "server/0", 0)))
        await asyncio.sleep(0)
        scrape.set_result(None)
        await first
        assert not second.done(), "that scrape began before it asked"
        (await scrapes.begun.get()).set_result(None)
        await second


async def test_the_counters_of_another_scrape_serve_when_nothing_can_have_come_since(
    watch: DrainWatch, scrapes: Scrapes
) -> None:
    place = Place("a", "server/0", 0, granted_at=50.0)
    watch.see({("b", 0): 1}, 51.0)
    async with asyncio.timeout(5):
        await watch.wait_idle(place)
    assert scrapes.begun.empty()


@pytest.mark.parametrize(
    ("place", "active", "seen_at"),
    [
        (Place("a", "server/0", 0, granted_at=50.0), {}, 50.01),
        (Place("a", "server/0", 0, granted_at=50.0), {("a", 0): 1}, 51.0),
        (Place("a", "server/0", 0, granted_at=50.0, direct=True), {}, 51.0),
    ],
    ids=["a request may not be counted yet", "one was in flight", "some came past the gateway"],
)
async def test_else_they_do_not(
    watch: DrainWatch,
    scrapes: Scrapes,
    place: Place,
    active: dict[tuple[str, int], int],
    seen_at: float,
) -> None:
    watch.see(active, seen_at)
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(watch.wait_idle(place))
        scrape = await scrapes.begun.get()
        assert not waiting.done()
        scrape.set_result(None)
        await waiting


async def test_a_request_that_was_let_through_during_a_scrape_is_not_in_it(
    watch: DrainWatch, scrapes: Scrapes, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_POLL_SECONDS", 0.0)
    place = Place("a", "server/0", 0)
    async with asyncio.timeout(5):
        waiting = asyncio.create_task(watch.wait_idle(place))
        scrape = await scrapes.begun.get()
        place.granted_at = 100.1
        time.now = 101.0  # long after it, but that scrape may be older
        scrape.set_result(None)
        again = await scrapes.begun.get()
        assert not waiting.done()
        again.set_result(None)
        await waiting
