from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from tests.unit.runtimes.plugins import plugin_module

_settling = plugin_module("mlserver", "overbook_mlserver/settling.py")
settled, settled_now = _settling.settled, _settling.settled_now
Traffic = plugin_module("mlserver", "overbook_mlserver/traffic.py").Traffic

_GATEWAY = b"gw.1"
_LONG = 3600.0


async def some_rounds() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def settling(
    traffic: object, passed: Mapping[bytes, int], patience: float = _LONG
) -> asyncio.Task[None]:
    return asyncio.create_task(settled(traffic, b"a", passed, patience=patience))


async def test_a_model_of_which_nothing_was_asked_is_settled_at_once() -> None:
    await asyncio.wait_for(settling(Traffic(), {}), 5)


async def test_what_is_present_is_waited_for_as_long_as_it_takes() -> None:
    traffic = Traffic()
    traffic.enter(b"a", _GATEWAY)
    waiting = settling(traffic, {_GATEWAY: 1}, patience=0.0)
    await some_rounds()
    assert not waiting.done()
    traffic.leave(b"a")
    await asyncio.wait_for(waiting, 5)


async def test_what_was_let_through_and_has_not_arrived_is_waited_for() -> None:
    traffic = Traffic()
    waiting = settling(traffic, {_GATEWAY: 2})
    for _ in range(2):
        await some_rounds()
        assert not waiting.done()
        traffic.enter(b"a", _GATEWAY)
        await some_rounds()
        assert not waiting.done(), "it is there"
        traffic.leave(b"a")
    await asyncio.wait_for(waiting, 5)


async def test_not_for_ever() -> None:
    traffic = Traffic()
    await asyncio.wait_for(settling(traffic, {_GATEWAY: 2}, patience=0.001), 5)
    assert traffic.missing(b"a", {_GATEWAY: 2}) == 0


@pytest.mark.parametrize("rounds", [1, 2])
async def test_what_came_past_the_gateways_and_was_not_read_yet_is_read_first(rounds: int) -> None:
    """It was in the kernel's hands when the wait began: on a connection that had yet to be accepted."""
    traffic = Traffic()
    traffic.enter(b"a", None)
    traffic.leave(b"a")
    waiting = settling(traffic, {})
    for _ in range(rounds):
        await asyncio.sleep(0)
    traffic.enter(b"a", None)
    await some_rounds()
    assert not waiting.done()
    traffic.leave(b"a")
    await asyncio.wait_for(waiting, 5)


async def test_who_has_gone_waits_no_longer() -> None:
    traffic = Traffic()
    traffic.enter(b"a", None)
    waiting = settling(traffic, {})
    await some_rounds()
    waiting.cancel()
    await asyncio.wait([waiting])
    traffic.leave(b"a")
    assert traffic.direct(b"a"), "it was not settled"


def test_where_there_is_nothing_to_wait_for_it_is_said_at_once() -> None:
    traffic = Traffic()
    assert settled_now(traffic, b"a", {})
    traffic.enter(b"a", _GATEWAY)
    assert not settled_now(traffic, b"a", {_GATEWAY: 1}), "it is there"
    traffic.leave(b"a")
    assert not settled_now(traffic, b"a", {_GATEWAY: 2}), "one has not arrived"
    assert settled_now(traffic, b"a", {_GATEWAY: 1})
    traffic.enter(b"a", None)
    traffic.leave(b"a")
    assert not settled_now(traffic, b"a", {_GATEWAY: 1}), "others may have been sent"
