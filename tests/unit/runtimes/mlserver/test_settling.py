from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.unit.runtimes.plugins import plugin_module

_settling = plugin_module("mlserver", "overbook_mlserver/settling.py")
settled, settled_now = _settling.settled, _settling.settled_now
idle, idle_now = _settling.idle, _settling.idle_now
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


@pytest.mark.parametrize("settle", [True, False])
async def test_a_timer_that_rings_a_moment_early_ends_the_wait_all_the_same(
    monkeypatch: pytest.MonkeyPatch, settle: bool
) -> None:
    """As uvloop's do: they count whole milliseconds."""
    loop = asyncio.get_running_loop()
    plain = loop.call_at

    def early(when: float, callback: Callable[..., object], *args: Any, **more: Any) -> Any:
        return plain(when - 0.01, callback, *args, **more)

    monkeypatch.setattr(loop, "call_at", early)
    wait = settling if settle else looking
    waiting = wait(Traffic(), {_GATEWAY: 1}, patience=0.02)
    await asyncio.wait([waiting], timeout=1.0)
    assert waiting.done()


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


def looking(
    traffic: object, passed: Mapping[bytes, int], patience: float = _LONG
) -> asyncio.Task[bool]:
    return asyncio.create_task(idle(traffic, b"a", passed, patience=patience))


def test_a_model_is_idle_when_nothing_is_here_nor_on_its_way() -> None:
    traffic = Traffic()
    assert idle_now(traffic, b"a", {})
    traffic.enter(b"a", _GATEWAY)
    assert not idle_now(traffic, b"a", {_GATEWAY: 1})
    traffic.leave(b"a")
    assert idle_now(traffic, b"a", {_GATEWAY: 1})
    assert not idle_now(traffic, b"a", {_GATEWAY: 2}), "one has not arrived"
    traffic.enter(b"a", None)
    traffic.leave(b"a")
    assert not idle_now(traffic, b"a", {_GATEWAY: 1}), "others may have been sent and not been read"


async def test_it_is_said_to_be_idle_as_soon_as_it_is() -> None:
    traffic = Traffic()
    traffic.enter(b"a", _GATEWAY)
    looked = looking(traffic, {_GATEWAY: 2})
    await some_rounds()
    traffic.leave(b"a")
    await some_rounds()
    assert not looked.done(), "one has not arrived"
    traffic.enter(b"a", _GATEWAY)
    await some_rounds()
    assert not looked.done(), "it is here"
    traffic.leave(b"a")
    assert await asyncio.wait_for(looked, 5)


@pytest.mark.parametrize("arrived", [True, False])
async def test_it_is_said_when_it_is_not_in_time_and_nothing_is_forgiven(arrived: bool) -> None:
    traffic = Traffic()
    if arrived:
        traffic.enter(b"a", _GATEWAY)
    assert not await asyncio.wait_for(looking(traffic, {_GATEWAY: 1}, patience=0.001), 5)
    assert traffic.missing(b"a", {_GATEWAY: 1}) == (not arrived)


@pytest.mark.parametrize("rounds", [1, 2])
async def test_between_two_requests_that_come_past_the_gateways_it_is_not_idle(rounds: int) -> None:
    traffic = Traffic()
    traffic.enter(b"a", None)
    looked = looking(traffic, {})
    for _ in range(3):
        await some_rounds()
        traffic.leave(b"a")
        for _ in range(rounds):
            await asyncio.sleep(0)
        traffic.enter(b"a", None)
    await some_rounds()
    assert not looked.done()
    traffic.leave(b"a")
    assert await asyncio.wait_for(looked, 5)
    assert traffic.direct(b"a"), "it was only looked at"


async def test_who_asked_and_has_gone_leaves_nothing_behind() -> None:
    traffic = Traffic()
    traffic.enter(b"a", _GATEWAY)
    looked = looking(traffic, {})
    await some_rounds()
    looked.cancel()
    await asyncio.wait([looked])
    traffic.leave(b"a")
    assert idle_now(traffic, b"a", {})
