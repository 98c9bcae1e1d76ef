"""Those who wait at the same time go together, and nobody suffers from another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from overbook.artifacts.sources.rclone.together import Bounds, Entry, Together


class Work:
    """Answers each number with its double; `gate` holds it up. ``groups``: what went together."""

    def __init__(self, slots: int = 1) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.ended = 0
        self._slots = asyncio.Semaphore(slots)

    @asynccontextmanager
    async def slot(self, item: int) -> AsyncIterator[None]:
        async with self._slots:
            yield

    async def do(self, entries: list[Entry[int, int]], _: None) -> None:
        self.groups.append([each.item for each in entries])
        self.begun.set()
        try:
            await self.gate.wait()
            for each in entries:
                if each.item < 0:
                    each.fail(ValueError(str(each.item)))
                elif each.item != 13:
                    each.give(2 * each.item)
        finally:
            self.ended += 1


def together(work: Work, items: int = 100, weight: int = 100) -> Together[int, int, None]:
    return Together(work.slot, work.do, Bounds(items, weight))


async def test_those_of_one_place_go_together() -> None:
    work = Work()
    work.gate.set()
    all_of_them = together(work)
    answers = await asyncio.gather(
        *(all_of_them.ask("a", n) for n in range(5)), all_of_them.ask("b", 9)
    )
    assert answers == [0, 2, 4, 6, 8, 18]
    assert sorted(work.groups) == [[0, 1, 2, 3, 4], [9]]


async def test_those_who_wait_for_a_slot_gather() -> None:
    work = Work()
    ask = together(work).ask
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask("a", 1))
        await work.begun.wait()
        for n in (2, 3):
            tasks.create_task(ask("a", n))
            await asyncio.sleep(0)
        work.gate.set()
    assert work.groups == [[1], [2, 3]]


async def test_a_group_has_bounds() -> None:
    work = Work()
    work.gate.set()
    by_number = together(work, items=2)
    await asyncio.gather(*(by_number.ask("a", n) for n in range(5)))
    assert [len(each) for each in work.groups] == [2, 2, 1]
    heavy = together(work, weight=10)
    work.groups.clear()
    await asyncio.gather(*(heavy.ask("a", n, 4) for n in range(3)), heavy.ask("a", 7, 50))
    assert work.groups == [[0, 1], [2], [7]]


async def test_one_that_fails_fails_alone() -> None:
    work = Work()
    work.gate.set()
    ask = together(work).ask
    answers = await asyncio.gather(ask("a", 1), ask("a", -2), ask("a", 3), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert answers[2] == 6


async def test_who_gets_no_answer_fails() -> None:
    work = Work()
    work.gate.set()
    with pytest.raises(RuntimeError, match="no answer"):
        await together(work).ask("a", 13)


async def test_who_leaves_takes_nothing_from_the_others() -> None:
    work = Work()
    ask = together(work).ask
    leaves = asyncio.create_task(ask("a", 1))
    stays = asyncio.create_task(ask("a", 2))
    await work.begun.wait()
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert work.ended == 0
    work.gate.set()
    assert await stays == 4


async def test_the_last_to_leave_ends_the_work_and_waits_for_its_end() -> None:
    work = Work()
    ask = together(work).ask
    both = [asyncio.create_task(ask("a", n)) for n in (1, 2)]
    await work.begun.wait()
    for each in both:
        each.cancel()
    await asyncio.wait(both)
    assert work.ended == 1


async def test_who_left_before_it_began_is_not_worked_for() -> None:
    work = Work()
    ask = together(work).ask
    first = asyncio.create_task(ask("a", 1))
    await work.begun.wait()
    leaves, stays = asyncio.create_task(ask("a", 2)), asyncio.create_task(ask("a", 3))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.wait({leaves})
    work.gate.set()
    assert (await first, await stays) == (2, 6)
    assert work.groups == [[1], [3]]
