from __future__ import annotations

import asyncio

import pytest

from overbook.gateway.sharing import SharedCalls


async def test_callers_share_one_call() -> None:
    calls: SharedCalls[str, int] = SharedCalls()
    gate, started = asyncio.Event(), 0

    async def call() -> int:
        nonlocal started
        started += 1
        await gate.wait()
        return started

    tasks = [asyncio.create_task(calls.join("a", call)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]
    assert await calls.join("a", call) == 2
    assert len(calls) == 0


async def test_one_that_leaves_does_not_disturb_the_others() -> None:
    calls: SharedCalls[str, str] = SharedCalls()
    gate = asyncio.Event()

    async def call() -> str:
        await gate.wait()
        return "done"

    leaver, stayer = (asyncio.create_task(calls.join("a", call)) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    gate.set()
    assert await stayer == "done"


async def test_when_all_leave_the_call_ends() -> None:
    calls: SharedCalls[str, None] = SharedCalls()
    ended = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    tasks = [asyncio.create_task(calls.join("a", call)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.wait_for(ended.wait(), 1)
    assert len(calls) == 0


async def test_a_failure_reaches_every_caller() -> None:
    calls: SharedCalls[str, None] = SharedCalls()

    async def call() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    tasks = [asyncio.create_task(calls.join("a", call)) for _ in range(2)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["broken", "broken"]
    assert len(calls) == 0
