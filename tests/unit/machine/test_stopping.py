"""What a stop waits for, what it says meanwhile, and what comes of it."""

from __future__ import annotations

import asyncio
import re

import pytest

from overbook.machine.stopping import Stop, waiting_line


class Part:
    """Drains when ``idle`` is set. ``did``: what it was asked to do, in order."""

    def __init__(self, running: int = 0) -> None:
        self.running = running
        self.idle = asyncio.Event()
        self.did: list[str] = []
        self.failure: Exception | None = None

    def leave(self) -> None:
        self.did.append("leave")

    async def drain(self) -> None:
        self.did.append("drain")
        if self.failure is not None:
            raise self.failure
        await self.idle.wait()

    async def refuse(self, why: str) -> None:
        self.did.append(f"refuse: {why}")


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.fixture
def said() -> list[str]:
    return []


async def test_an_idle_part_leaves_at_once_without_a_word(said: list[str]) -> None:
    part, task = Part(), asyncio.create_task(_for_ever())
    part.idle.set()
    assert await Stop(30.0, said.append).let_leave(part, task)
    assert (part.did, said) == (["leave", "drain"], [])
    task.cancel()


async def test_what_outlasts_the_grace_is_refused_with_the_reason(said: list[str]) -> None:
    part, task = Part(running=2), asyncio.create_task(_for_ever())
    assert not await Stop(0.05, said.append).let_leave(part, task)
    assert part.did[:2] == ["leave", "drain"]
    assert re.fullmatch(
        r"refuse: Overbook is stopping, and 0\.05 s of grace are over.*", part.did[2]
    )
    assert said[-1] == "stopping: 2 requests cut after 0.05 s"
    task.cancel()


async def test_the_grace_is_one_for_all_parts(said: list[str]) -> None:
    stop, task = Stop(0.1, said.append), asyncio.create_task(_for_ever())
    stop.begin()
    await asyncio.sleep(0.11)
    late = Part()
    assert not await stop.let_leave(late, task)
    task.cancel()


async def test_a_part_that_ended_is_not_waited_for(said: list[str]) -> None:
    async def ends() -> None:
        return

    part, task = Part(running=1), asyncio.create_task(ends())
    assert await asyncio.wait_for(Stop(30.0, said.append).let_leave(part, task), 1.0)


async def test_a_drain_that_fails_is_logged_and_holds_up_nothing(
    said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    part, task = Part(), asyncio.create_task(_for_ever(), name="gateway")
    part.failure = ValueError("broken")
    assert not await asyncio.wait_for(Stop(30.0, said.append).let_leave(part, task), 1.0)
    assert "gateway could not drain" in caplog.text
    task.cancel()


def test_the_line_at_the_terminal() -> None:
    assert waiting_line(3, 26.4) == (
        "stopping: 3 requests still run, up to 27 s; press Ctrl-C again to end at once"
    )
    assert waiting_line(1, 0.2).startswith("stopping: 1 request still runs, up to 1 s;")
