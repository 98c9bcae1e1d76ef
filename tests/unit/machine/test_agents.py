"""An agent runs to its end, or until its runtime has another environment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overbook.machine.agents import _runs_until, _wish
from overbook.runtimes.own import Wish
from overbook.wire import scheduler_pb2 as pb


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def at_once() -> None:
    return None


async def broken() -> None:
    raise ValueError("broken")


async def test_work_that_ends_by_itself() -> None:
    assert await _runs_until(at_once(), forever()) is False
    with pytest.raises(ValueError, match="broken"):
        await _runs_until(broken(), forever())


async def test_work_that_is_out_of_date_is_cancelled_and_cleans_up() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    assert await _runs_until(work(), at_once()) is True
    assert ended == ["cleaned up"]


async def test_what_fails_while_it_is_cancelled_is_told() -> None:
    async def work() -> None:
        try:
            await forever()
        finally:
            raise ValueError("on the way out")

    with pytest.raises(ValueError, match="on the way out"):
        await _runs_until(work(), at_once())


async def test_a_cancelled_caller_takes_both_along() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    task = asyncio.ensure_future(_runs_until(work("work"), work("watch")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == ["watch", "work"]


def test_what_a_servers_own_environment_consists_of() -> None:
    assert _wish(pb.ServerSpec(name="plain")) is None
    spec = pb.ServerSpec(environment=pb.Environment(packages=["a==1"]))
    assert _wish(spec) == Wish(packages=("a==1",))
    spec = pb.ServerSpec(environment=pb.Environment(archive="/env.tar.gz"))
    assert _wish(spec) == Wish(archive=Path("/env.tar.gz"))
