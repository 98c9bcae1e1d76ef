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


@pytest.fixture
def scrapes() -> Scrapes:
    return Scrapes()


@pytest.fixture
async def watch(scrapes: Scrapes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DrainWatch]:
    monkeypatch.setattr(drain, "_POLL_SECONDS", _EVER)
    watch = DrainWatch(cast(Admin, scrapes), lambda: 100.0)
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
