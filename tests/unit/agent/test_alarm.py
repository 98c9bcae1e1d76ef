"""The timer: never later than asked for, and not moved for every wish."""

from __future__ import annotations

import asyncio
import math

from overbook.agent.alarm import Alarm
from tests.unit.agent.virtual_time import in_virtual_time


def _alarm() -> tuple[Alarm, list[float], float]:
    rung: list[float] = []
    loop = asyncio.get_running_loop()
    return Alarm(lambda: rung.append(loop.time())), rung, loop.time()


@in_virtual_time
async def test_it_rings_at_the_earliest_time_that_was_asked_for() -> None:
    alarm, rung, now = _alarm()
    alarm.set(now + 5.0)
    alarm.set(now + 2.0)
    alarm.set(now + 9.0)
    alarm.set(math.inf)
    await asyncio.sleep(20.0)
    assert rung == [now + 2.0]
    alarm.set(now + 30.0)
    await asyncio.sleep(20.0)
    assert rung == [now + 2.0, now + 30.0]


@in_virtual_time
async def test_it_does_not_ring_when_it_was_cancelled_or_never_set() -> None:
    alarm, rung, now = _alarm()
    alarm.cancel()
    alarm.set(math.inf)
    alarm.set(now + 1.0)
    alarm.cancel()
    await asyncio.sleep(5.0)
    assert rung == []
