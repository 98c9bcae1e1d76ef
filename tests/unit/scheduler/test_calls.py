"""Calls of the control API are counted until they are answered."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from overbook.scheduler.calls import Calls


async def _receive() -> dict[str, object]:
    return {}


async def _send(message: object) -> None:
    return


async def test_a_drain_ends_with_the_last_call_and_ends_waits_first() -> None:
    go, ended = asyncio.Event(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()

    calls = Calls(app, lambda: ended.append(True))
    running = [asyncio.create_task(calls({}, _receive, _send)) for _ in range(2)]
    await asyncio.sleep(0)
    assert calls.running == 2
    draining = asyncio.create_task(calls.drain())
    await asyncio.sleep(0)
    assert (draining.done(), ended) == (False, [True])
    go.set()
    await asyncio.gather(*running)
    await asyncio.wait_for(draining, 1.0)
    assert calls.running == 0


async def test_a_call_that_fails_is_over_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("no")

    calls = Calls(app, lambda: None)
    with pytest.raises(ValueError, match="no"):
        await calls({}, _receive, _send)
    await asyncio.wait_for(calls.drain(), 1.0)
