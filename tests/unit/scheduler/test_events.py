"""The ring of events: numbers, filters, waiting."""

from __future__ import annotations

import asyncio

import pytest

from overbook.scheduler.errors import TooMany
from overbook.scheduler.events import RING, EventRing


def ring(*names: str) -> EventRing:
    events = EventRing()
    for name in names:
        add(events, name)
    return events


def add(events: EventRing, name: str, kind: str = "Model") -> None:
    events.add("ModelPlaced", kind=kind, name=name, message="here", time=1.0)


def test_events_after_a_number() -> None:
    events = ring("a", "b", "c")
    assert [each.seq for each in events.after(1)] == [2, 3]
    assert [each.seq for each in events.after(0, kind="Model", name="b")] == [2]
    assert events.after(0, kind="Server", name="b") == []
    assert events.after(3) == []


def test_a_number_from_before_a_restart_means_everything() -> None:
    assert [each.seq for each in ring("a", "b").after(999)] == [1, 2]


def test_only_the_last_ones_are_kept() -> None:
    events = ring(*("m" for _ in range(RING + 5)))
    assert len(events.after(0)) == RING
    assert events.last == RING + 5


async def test_waiting_ends_with_the_first_event_that_fits() -> None:
    events = ring("a")
    waiting = asyncio.create_task(events.wait_after(1, wait=30, name="c"))
    await asyncio.sleep(0)
    add(events, "b")
    await asyncio.sleep(0)
    assert not waiting.done()
    add(events, "c")
    assert [each.name for each in await waiting] == ["c"]


async def test_waiting_ends_with_its_time() -> None:
    events = ring("a")
    assert await events.wait_after(1, wait=0.01) == []
    assert await events.wait_after(1, wait=0) == []
    assert len(await events.wait_after(0, wait=30)) == 1


async def test_nobody_waits_any_more_before_a_stop() -> None:
    events = ring("a")
    waiting = asyncio.create_task(events.wait_after(1, wait=30))
    await asyncio.sleep(0)
    events.stop_waiting()
    assert await waiting == []
    assert await events.wait_after(1, wait=30) == []


async def test_only_so_many_wait_and_who_does_not_is_answered() -> None:
    events = EventRing(waiting=1)
    first = asyncio.create_task(events.wait_after(0, wait=5))
    await asyncio.sleep(0)
    with pytest.raises(TooMany, match="1 others wait for events already"):
        await events.wait_after(0, wait=5)
    assert await events.wait_after(0, wait=0) == []
    add(events, "a")
    assert [each.name for each in await first] == ["a"]
    # Its place is free again.
    last = asyncio.create_task(events.wait_after(1, wait=5))
    await asyncio.sleep(0)
    add(events, "b")
    assert [each.name for each in await last] == ["b"]
