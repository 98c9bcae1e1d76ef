"""Who waits for whose word, and for how long."""

from __future__ import annotations

import asyncio

from overbook.scheduler.hearing import Hearing, Listener
from tests.unit.agent.virtual_time import in_virtual_time


def listeners(*names: str) -> list[Listener]:
    """Each has heard of what it found."""
    found = [Listener(name) for name in names]
    for each in found:
        each.heard = each.told
    return found


@in_virtual_time
async def test_settled_once_all_have_heard() -> None:
    hearing, (one, two) = Hearing(), listeners("one", "two")
    assert await hearing.settled([one, two], 1.0) == []
    one.change()
    two.change()
    waiting = asyncio.create_task(hearing.settled([one, two], 5.0))
    await asyncio.sleep(0)
    hearing.heard(one, one.told)
    await asyncio.sleep(0)
    assert not waiting.done()
    two.change()
    hearing.heard(two, two.told - 1)
    assert await waiting == [], "what came after the question is not waited for"


@in_virtual_time
async def test_who_is_silent_is_named_after_the_time_and_then_at_once() -> None:
    hearing, (quick, silent) = Hearing(), listeners("quick", "silent")
    now = asyncio.get_running_loop().time
    began = now()
    silent.change()
    assert await hearing.settled([quick, silent], 2.0) == [silent]
    assert now() - began == 2.0
    silent.change()
    assert await hearing.settled([quick, silent], 2.0) == [silent]
    assert now() - began == 2.0, "nobody waits twice for who does not answer"
    hearing.heard(silent, silent.told - 1)
    assert not silent.late
    assert await hearing.settled([silent], 3.0) == [silent]
    assert now() - began == 5.0, "it answered what it owed: it is waited for again"


@in_virtual_time
async def test_who_is_gone_is_not_waited_for() -> None:
    hearing, (leaving,) = Hearing(), listeners("leaving")
    leaving.change()
    waiting = asyncio.create_task(hearing.settled([leaving], 5.0))
    await asyncio.sleep(0)
    hearing.leave(leaving)
    assert await waiting == []


def test_a_number_that_nobody_was_told_counts_for_nothing() -> None:
    hearing, (one,) = Hearing(), listeners("one")
    hearing.heard(one, 7)
    assert one.heard == 1
    one.change()
    hearing.heard(one, 1)
    assert one.heard == 1
    hearing.heard(one, 2)
    assert one.heard == 2
