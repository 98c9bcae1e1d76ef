"""Slots as fetches meet them: who drips gives way, and who has to wait holds none meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from overbook.artifacts.errors import GaveWay, SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits, Turn
from tests.unit.agent.virtual_time import in_virtual_time, settle


async def drip(limits: FetchLimits, source: str, rate: int = 1) -> None:
    """Brings ``rate`` bytes a second, without end."""
    async with limits.slot(source) as turn:
        while True:
            await asyncio.sleep(1)
            turn.counting(lambda _: None)(rate)


@asynccontextmanager
async def running(*work: asyncio.Task[None]) -> AsyncIterator[None]:
    await settle()
    try:
        yield
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)


def seconds() -> float:
    return asyncio.get_running_loop().time() - 1000.0


@in_virtual_time
async def test_four_that_drip_do_not_keep_a_good_one_waiting() -> None:
    limits = FetchLimits(4)
    drips = [asyncio.create_task(drip(limits, f"host{each}")) for each in range(4)]
    async with running(*drips):
        async with asyncio.timeout(120), limits.slot("elsewhere"):
            assert seconds() <= 62
        with pytest.raises(
            SourceError, match=r"host0 brings less than 8KiB .* what came is kept"
        ) as raised:
            await drips[0]
        assert raised.value.trouble is Trouble.TOO_SLOW
        assert raised.value.passing
        await asyncio.sleep(300)
        assert not any(each.done() for each in drips[1:]), "nobody waits"


@in_virtual_time
async def test_who_is_slow_because_we_want_it_stays() -> None:
    limits = FetchLimits(2, rate=2048)
    slow = [asyncio.create_task(drip(limits, f"host{each}", 1000)) for each in range(2)]
    async with running(*slow):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300), limits.slot("elsewhere"):
                pass
        assert not any(each.done() for each in slow)


@in_virtual_time
async def test_one_source_has_not_all_slots_while_another_waits() -> None:
    limits = FetchLimits(4)
    many = [asyncio.create_task(drip(limits, "one", 1 << 20)) for _ in range(4)]
    async with running(*many):
        async with asyncio.timeout(30), limits.slot("another"):
            assert 15 <= seconds() <= 17
        with pytest.raises(GaveWay, match=r"one gives a slot to another source"):
            await many[3]
        assert not any(each.done() for each in many[:3])


@in_virtual_time
async def test_who_rests_holds_no_slot() -> None:
    limits = FetchLimits(1)
    told: list[tuple[str, float]] = []

    async def busy() -> None:
        async with limits.slot("busy") as turn:
            await turn.rest(60)
            told.append(("busy", seconds()))

    resting = asyncio.create_task(busy())
    async with running(resting):
        async with asyncio.timeout(81), limits.slot("busy"):
            told.append(("other", seconds()))
            await asyncio.sleep(80)
        await resting
    assert told == [("other", 0.0), ("busy", 80.0)]


@in_virtual_time
async def test_a_slot_is_given_up_when_the_last_of_its_workers_rests() -> None:
    limits = FetchLimits(1)
    got: list[float] = []

    async def work(turn: Turn, before: float, rest: float) -> None:
        await asyncio.sleep(before)
        if rest:
            await turn.rest(rest)
        turn.leave()

    async def several() -> None:
        async with limits.slot("several") as turn:
            turn.share(3)
            await asyncio.gather(work(turn, 1, 50), work(turn, 2, 50), work(turn, 3, 0))

    async def other() -> None:
        async with limits.slot("other"):
            got.append(seconds())

    first = asyncio.create_task(several())
    async with running(first):
        second = asyncio.create_task(other())
        await asyncio.gather(first, second)
    assert got == [3.0]
    assert seconds() == 52.0


@in_virtual_time
async def test_who_is_cancelled_while_it_rests_leaves_nothing() -> None:
    limits = FetchLimits(1)

    async def busy(rest: float) -> None:
        async with limits.slot("busy") as turn:
            await turn.rest(rest)

    for wait in (0.5, 2.0):  # at rest, and while it waits for the slot again
        resting = asyncio.create_task(busy(1.0))
        await settle()
        async with limits.slot("other"):
            await asyncio.sleep(wait)
            resting.cancel()
            await asyncio.gather(resting, return_exceptions=True)
        async with asyncio.timeout(1), limits.slot("other"):
            pass


@in_virtual_time
async def test_a_timeout_of_the_work_itself_is_its_own() -> None:
    limits = FetchLimits(1)
    with pytest.raises(TimeoutError):
        async with limits.slot("one"):
            raise TimeoutError
