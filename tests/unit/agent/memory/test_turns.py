"""Who waits for whom, and never for long."""

from __future__ import annotations

import asyncio

from overbook.agent.clock import Clock
from overbook.agent.memory.turns import Turns
from tests.unit.agent.virtual_time import in_virtual_time

PATIENCE = 2.0


class Diary:
    """When each began and ended, in seconds since the first."""

    def __init__(self) -> None:
        self.turns = Turns(PATIENCE, Clock())
        self.began: dict[str, float] = {}
        self._zero = asyncio.get_running_loop().time()

    async def work(self, name: str, seconds: float, *, alone: bool = False) -> None:
        async with self.turns.turn(alone=alone):
            self.began[name] = round(asyncio.get_running_loop().time() - self._zero, 2)
            await asyncio.sleep(seconds)


@in_virtual_time
async def test_known_ones_work_together() -> None:
    diary = Diary()
    await asyncio.gather(diary.work("a", 1), diary.work("b", 1))
    assert diary.began == {"a": 0, "b": 0}


@in_virtual_time
async def test_an_unknown_one_waits_for_those_before_and_holds_up_those_after() -> None:
    diary = Diary()
    await asyncio.gather(
        diary.work("a", 1), diary.work("b", 1, alone=True), diary.work("c", 1), diary.work("d", 1)
    )
    assert diary.began == {"a": 0, "b": 1, "c": 2, "d": 2}


@in_virtual_time
async def test_unknown_ones_work_one_after_the_other() -> None:
    diary = Diary()
    await asyncio.gather(*(diary.work(name, 0.5, alone=True) for name in "abc"))
    assert diary.began == {"a": 0, "b": 0.5, "c": 1}


@in_virtual_time
async def test_one_that_takes_long_holds_up_nobody_for_longer_than_the_patience() -> None:
    diary = Diary()
    long = asyncio.create_task(diary.work("long", 100, alone=True))
    await asyncio.sleep(0.5)
    await diary.work("a", 1)
    assert diary.began["a"] == PATIENCE
    await diary.work("b", 1, alone=True)
    assert diary.began["b"] == PATIENCE + 1, "by then it is not waited for at all"
    await diary.work("c", 1)
    assert diary.began["c"] == PATIENCE + 2
    long.cancel()


@in_virtual_time
async def test_one_that_is_cancelled_lets_the_others_go() -> None:
    diary = Diary()
    gone = asyncio.create_task(diary.work("gone", 1, alone=True))
    waiting = asyncio.create_task(diary.work("a", 1))
    await asyncio.sleep(0.25)
    gone.cancel()
    await waiting
    assert diary.began["a"] == 0.25


@in_virtual_time
async def test_settled_waits_for_those_that_came_in_between() -> None:
    diary = Diary()

    async def outer() -> float:
        async with diary.turns.turn(alone=True):
            await asyncio.sleep(PATIENCE + 0.5)
            await diary.turns.settled()
            return asyncio.get_running_loop().time() - diary._zero

    ended, _ = await asyncio.gather(outer(), diary.work("a", 1))
    assert diary.began["a"] == PATIENCE
    assert round(ended, 2) == PATIENCE + 1
