"""Requests that wait: answered once, sent away together, and forgotten with whoever asked."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.activation import AgentStops
from overbook.agent.clock import Clock
from overbook.agent.contents import Contents
from overbook.agent.waiters import Waiters
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from tests.unit.agent.virtual_time import in_virtual_time

A = ModelName("a")


def _waiters() -> Waiters:
    return Waiters(Clock(), Contents({}))


@in_virtual_time
async def test_each_is_answered_once_and_told_how_long_it_waited() -> None:
    waiters = _waiters()
    waiter = waiters.arrive(A)
    await asyncio.sleep(2.0)
    assert waiters.answer(waiter.request, Refusal.NO_ROOM, "full") == A
    assert waiters.answer(waiter.request) is None
    activation = await waiter.answer
    assert (activation.refusal, activation.reason) == (Refusal.NO_ROOM, "full")
    assert activation.waited == pytest.approx(2.0)
    assert activation.request == waiter.request


@in_virtual_time
async def test_who_left_or_was_cancelled_is_not_answered() -> None:
    waiters = _waiters()
    gone, cancelled = waiters.arrive(A), waiters.arrive(A)
    waiters.leave(gone.request)
    cancelled.answer.cancel()
    assert waiters.answer(gone.request) is None
    assert waiters.answer(cancelled.request) is None


@in_virtual_time
async def test_all_are_sent_to_other_replicas() -> None:
    waiters = _waiters()
    one, other = waiters.arrive(A), waiters.arrive(A)
    other.answer.cancel()
    assert waiters.send_away() == [one.request, other.request]
    with pytest.raises(AgentStops):
        await one.answer
    assert waiters.send_away() == []
