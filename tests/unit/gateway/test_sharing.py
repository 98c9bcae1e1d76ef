from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from overbook.gateway.sharing import SharedCalls


class Asked:
    """A call that does this. ``overs``: how often it was told that nobody waits for it any more."""

    def __init__(self, work: Callable[[], Awaitable[int]]) -> None:
        self._work = work
        self.overs = 0

    async def reply(self) -> int:
        return await self._work()

    def over(self) -> None:
        self.overs += 1


class Calls:
    """Shared calls, all for the same thing. ``made``: in order."""

    def __init__(self, work: Callable[[], Awaitable[int]]) -> None:
        self._work = work
        self.shared: SharedCalls[str, int] = SharedCalls()
        self.made: list[Asked] = []

    def _begin(self) -> Asked:
        self.made.append(Asked(self._work))
        return self.made[-1]

    async def join(self, until: asyncio.Event | None = None) -> int:
        """Leaves when it has the answer, or later."""
        async with self.shared.join("a", self._begin) as answer:
            if until is not None:
                await until.wait()
            return answer


async def test_callers_share_one_call() -> None:
    gate = asyncio.Event()

    async def call() -> int:
        await gate.wait()
        return len(calls.made)

    calls = Calls(call)
    tasks = [asyncio.create_task(calls.join()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await calls.join() == 2
    assert len(calls.shared) == 0


async def test_a_call_is_over_when_the_last_caller_has_gone_and_not_before() -> None:
    async def call() -> int:
        return len(calls.made)

    calls, slow = Calls(call), asyncio.Event()
    quick, waiting = asyncio.create_task(calls.join()), asyncio.create_task(calls.join(slow))
    assert await quick == 1
    assert calls.made[0].overs == 0
    assert await calls.join() == 2, "one that was answered is not joined any more"
    assert [made.overs for made in calls.made] == [0, 1]
    slow.set()
    assert await waiting == 1
    assert [made.overs for made in calls.made] == [1, 1]
    assert len(calls.shared) == 0


async def test_one_that_leaves_does_not_disturb_the_others() -> None:
    gate = asyncio.Event()

    async def call() -> int:
        await gate.wait()
        return 7

    calls = Calls(call)
    leaver, stayer = (asyncio.create_task(calls.join()) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    gate.set()
    assert await stayer == 7
    assert calls.made[0].overs == 1


async def test_when_all_leave_the_call_ends() -> None:
    ended = asyncio.Event()

    async def call() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 0

    calls = Calls(call)
    tasks = [asyncio.create_task(calls.join()) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(ended.wait(), 1)
    assert calls.made[0].overs == 1
    assert len(calls.shared) == 0


async def test_a_failure_reaches_every_caller() -> None:
    async def call() -> int:
        await asyncio.sleep(0)
        raise ValueError("broken")

    calls = Calls(call)
    tasks = [asyncio.create_task(calls.join()) for _ in range(2)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["broken", "broken"]
    assert len(calls.shared) == 0
