"""A model's own process dies while the inference server goes on: it comes back, asked for or not."""

from __future__ import annotations

import asyncio

from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, World, spec, world


def _isolate(made: World) -> None:
    made.server.isolated = True


@in_virtual_time
async def test_a_lost_model_comes_back_by_itself() -> None:
    async with world() as made:
        _isolate(made)
        await made.assign(spec(A), spec(B))
        await made.activate(A)
        made.server.lose(A)
        await settle()
        assert made.server.loads == [A, B, A]
        assert made.state(A) is State.RESIDENT
        assert made.events().count("ModelLost") == 1
        assert made.events().count("ServerDied") == 0


@in_virtual_time
async def test_requests_do_not_wait_for_the_pause_after_repeated_deaths() -> None:
    async with world() as made:
        _isolate(made)
        await made.assign(spec(A))
        for _ in range(4):
            made.server.lose(A)
            await asyncio.sleep(5)
        loads = len(made.server.loads)
        made.server.lose(A)
        await settle()
        assert len(made.server.loads) == loads, "it waits longer after each death"
        assert (await made.activate(A, suspect=True)).refusal is None
        assert len(made.server.loads) == loads + 1


@in_virtual_time
async def test_deaths_far_apart_are_no_pattern() -> None:
    async with world() as made:
        _isolate(made)
        await made.assign(spec(A))
        for _ in range(3):
            loads = len(made.server.loads)
            made.server.lose(A)
            await settle()
            assert len(made.server.loads) == loads + 1
            await asyncio.sleep(600)


@in_virtual_time
async def test_a_model_that_was_leaving_is_not_brought_back() -> None:
    async with world(budget=MB) as made:
        _isolate(made)
        made.follow()
        await made.assign(spec(A))
        made.actor.evict(ModelName(A))
        await settle()
        assert made.state(A) is State.DRAINING
        made.server.lose(A)
        await settle()
        assert made.state(A) is State.DRAINING
        assert "ModelLost" not in made.events()


@in_virtual_time
async def test_the_old_copy_dies_while_a_new_one_is_refused() -> None:
    async with world() as made:
        _isolate(made)
        await made.assign(spec(A))
        made.server.scripts[A] = Script(seconds=5.0, fail="weights are bad")
        await made.assign(spec(A, generation=2, fingerprint="2"))
        assert made.state(A) is State.RELOADING
        made.server.lose(A)
        await asyncio.sleep(6)
        assert made.state(A) is not State.RESIDENT
        made.server.scripts[A] = Script()
        await asyncio.sleep(60)
        assert made.state(A) is State.RESIDENT
