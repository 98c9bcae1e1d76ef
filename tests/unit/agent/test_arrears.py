"""What loaded models take beyond their charges is borne, or room is made for it, and the budget holds meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from overbook.agent.notices import EVICTED
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time
from tests.unit.agent.world import MB, A, B, World, spec, world

BUDGET = 1000 * MB


def _charged(made: World) -> int:
    return made.actor.statistics().charged


@contextlib.asynccontextmanager
async def ten_of_a_tenth(truth: int) -> AsyncIterator[World]:
    """All loaded, each charged a tenth of the budget, before any was weighed. ``truth``: bytes that each takes."""
    names = [f"m{number}" for number in range(10)]
    async with world(budget=BUDGET, weighs=True, watching=True) as made:
        made.server.scale_seconds = 1.0
        made.server.scripts.update({name: Script(size=truth) for name in names})
        await made.assign(*(spec(name, memory=BUDGET // 10) for name in names))
        for name in names:
            await made.activate(name)
        yield made


@in_virtual_time
async def test_a_little_more_than_there_is_waits_for_room() -> None:
    """Charges exceed the budget for surprises only."""
    async with world(budget=BUDGET, weighs=True, watching=True) as made:
        made.server.scale_seconds = 5.0
        made.server.scripts.update(a=Script(size=603 * MB), b=Script(size=400 * MB))
        await made.assign(spec(A, memory=600 * MB), spec(B, memory=400 * MB))
        await made.activate(B)
        await made.activate(A)
        await asyncio.sleep(30.0)
        assert _charged(made) == BUDGET
        assert made.report(A).size_bytes == 603 * MB
        made.actor.evict(ModelName(B))
        await asyncio.sleep(30.0)
        assert _charged(made) == 603 * MB


@in_virtual_time
async def test_many_a_little_makes_too_much_to_bear() -> None:
    """Ten text pipelines of 8.9 MB, guessed at 4.5, were all in memory where six fit: each was a little larger."""
    async with ten_of_a_tenth(103 * MB) as made:
        await asyncio.sleep(60.0)
        assert made.actor.statistics().resident == 9
        assert _charged(made) == made.server.held - made.server.base_bytes == 9 * 103 * MB


@in_virtual_time
async def test_room_is_made_before_a_model_is_charged_with_what_more_it_takes() -> None:
    """Too much to be borne, and no surprise: the charges stay within the budget all the time."""
    async with ten_of_a_tenth(109 * MB) as made:
        highest = 0
        for _ in range(600):
            await asyncio.sleep(0.1)
            highest = max(highest, _charged(made))
        assert highest == BUDGET
        assert made.actor.statistics().resident == 9
        assert _charged(made) == made.server.held - made.server.base_bytes == 9 * 109 * MB
        said = [each.message for each in made.notices.events if each.reason == "ModelEvicted"]
        assert set(said) == {EVICTED[Cause.SURPRISE]}
