"""One prediction for each round of the loop, in order, and nobody is held up by one that waits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Coroutine
from types import SimpleNamespace

import pytest

from tests.unit.runtimes.plugins import plugin_module

OneAtATime = plugin_module("mlserver", "overbook_mlserver/one_at_a_time.py").OneAtATime


class Rounds:
    """Counts the rounds of the loop while it runs."""

    def __init__(self) -> None:
        self.now = 0
        self._on = True
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self.now += 1
        if self._on:
            asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._on = False


def begin(tasks: list[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
    tasks.append(asyncio.get_running_loop().create_task(work))


async def some_rounds() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_each_has_a_round_of_its_own_in_the_order_of_arrival() -> None:
    queue, rounds = OneAtATime(), Rounds()
    tasks: list[asyncio.Task[None]] = []
    began: list[tuple[int, int]] = []

    async def predict(number: int) -> None:
        began.append((number, rounds.now))

    for number in range(5):
        queue.enter(functools.partial(begin, tasks, predict(number)))
    await some_rounds()
    rounds.stop()
    await asyncio.gather(*tasks)
    assert [number for number, _ in began] == [0, 1, 2, 3, 4]
    assert len({at for _, at in began}) == 5


async def test_one_that_waits_lets_the_next_begin() -> None:
    queue = OneAtATime()
    tasks: list[asyncio.Task[None]] = []
    free, seen = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        await free.wait()

    async def sees() -> None:
        seen.set()

    queue.enter(functools.partial(begin, tasks, waits()))
    queue.enter(functools.partial(begin, tasks, sees()))
    async with asyncio.timeout(5):
        await seen.wait()
    free.set()
    await asyncio.gather(*tasks)


async def test_an_empty_line_is_passed_at_once_again_and_again() -> None:
    queue = OneAtATime()
    tasks: list[asyncio.Task[None]] = []
    done: list[int] = []

    async def predict(number: int) -> None:
        done.append(number)

    for number in range(3):
        queue.enter(functools.partial(begin, tasks, predict(number)))
        await asyncio.gather(*tasks)
        await asyncio.sleep(0)
    assert done == [0, 1, 2]


async def test_the_typical_one_is_the_average_of_predictions_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = plugin_module("mlserver", "overbook_mlserver/one_at_a_time.py")
    clock = {"now": 0.0}
    monkeypatch.setattr(module, "time", SimpleNamespace(thread_time=lambda: clock["now"]))
    queue = module.OneAtATime()
    tasks: list[asyncio.Task[None]] = []

    def something_else() -> None:
        clock["now"] += 100

    async def predict(seconds: float) -> None:
        clock["now"] += seconds

    assert queue.typical() == 0
    for seconds in (1.0, 3.0, 2.0):
        asyncio.get_running_loop().call_soon(something_else)
        queue.enter(functools.partial(begin, tasks, predict(seconds)))
        asyncio.get_running_loop().call_soon(something_else)
        await some_rounds()
    assert queue.typical() == 2.0
    for _ in range(20):
        queue.enter(functools.partial(begin, tasks, predict(1.0)))
        await some_rounds()
    await asyncio.gather(*tasks)
    assert queue.typical() == 1.0
