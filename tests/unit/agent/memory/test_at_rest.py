"""A server that weighs contents, through the whole agent: what is charged, grows, and is not given back."""

from __future__ import annotations

import asyncio

from overbook.agent.memory.machine import Room
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, causes, charged, spec, world

BUDGET = 1000 * MB


@in_virtual_time
async def test_what_was_weighed_is_charged_whatever_else_goes_on() -> None:
    async with world(budget=BUDGET, weighs=True, watching=True) as made:
        for name in (A, B):
            made.server.scripts[name] = Script(size=100 * MB, seconds=0.5)
        await made.assign(spec(A, memory=None), spec(B, memory=None))
        began = made.clock.now()
        await asyncio.gather(made.activate(A), made.activate(B))
        assert made.clock.now() - began < 0.6, "neither waits to be measured alone"
        await asyncio.sleep(2.0)
        assert charged(made) == made.server.held - made.server.base_bytes == 200 * MB
        assert made.report(A).measured_bytes == 100 * MB


@in_virtual_time
async def test_a_weight_is_charged_also_where_it_does_not_fit() -> None:
    async with world(budget=BUDGET, weighs=True) as made:
        made.server.scale_seconds = 5.0
        made.server.scripts.update(a=Script(size=600 * MB), b=Script(size=600 * MB))
        await made.assign(spec(A, memory=60 * MB), spec(B, memory=60 * MB))
        await made.activate(A)
        await made.activate(B)
        assert made.actor.statistics().resident == 2, "that is what they said"
        await asyncio.sleep(30.0)
        assert charged(made) == made.server.held - made.server.base_bytes == 600 * MB
        assert causes(made) == ["surprise"]


@in_virtual_time
async def test_bodies_of_requests_are_nobodys_size_and_hold_up_nobody() -> None:
    """Bodies of 377 MB came and went while a model of 1.4 MB was unloaded: it was charged with them, and failed."""
    async with world(budget=10 * MB, weighs=True, watching=True) as made:
        for name in (A, B):
            made.server.scripts[name] = Script(size=1_400_000)
        await made.assign(spec(A, memory=None), spec(B, memory=None))
        await made.activate(A)
        await made.activate(B)
        await asyncio.sleep(2.0)
        for _ in range(4):
            made.server.bodies = 377 * MB
            made.actor.evict(ModelName(A))
            await settle()
            began = made.clock.now()
            assert (await made.activate(A)).refusal is None
            assert made.clock.now() - began < 0.1
            await asyncio.sleep(15.0)
            made.server.bodies = 0
            await asyncio.sleep(15.0)
        assert made.report(A).size_bytes == 1_400_000
        assert made.state(B) is State.RESIDENT
        assert causes(made) == ["requested"] * 4


@in_virtual_time
async def test_a_model_that_grows_at_its_requests_is_found_out_when_it_leaves_twice() -> None:
    async with world(budget=BUDGET, weighs=True) as made:
        made.server.scripts[A] = Script(size=100 * MB, grows=60 * MB)
        await made.assign(spec(A, memory=None))
        sizes = []
        for _ in range(2):
            await made.activate(A)
            await asyncio.sleep(1.0)
            made.actor.evict(ModelName(A))
            await asyncio.sleep(1.0)
            sizes.append(made.report(A).size_bytes)
        assert sizes == [100 * MB, 160 * MB]
        made.server.scripts[A] = Script(size=100 * MB)
        made.meter.state.withheld = 1  # as after any loss: then all unloads are measured
        await made.activate(A)
        made.actor.evict(ModelName(A))
        await asyncio.sleep(1.0)
        assert made.report(A).size_bytes == 100 * MB, "it falls as well"


@in_virtual_time
async def test_growth_is_seen_while_the_model_stays() -> None:
    async with world(budget=BUDGET, weighs=True, watching=True) as made:
        made.room = Room(100 * BUDGET, 90 * BUDGET)
        made.server.scripts[A] = Script(size=100 * MB, grows=60 * MB)
        gateway = made.follow()
        await made.assign(spec(A, memory=None))
        await made.activate(A)
        made.actor.followers.usage(gateway, ModelName(A), 0, 1)
        await asyncio.sleep(3.0)
        assert made.report(A).measured_bytes == 160 * MB
        assert charged(made) == 160 * MB


@in_virtual_time
async def test_growth_is_weighed_where_others_are_asked_all_the_time() -> None:
    async with world(budget=BUDGET, weighs=True, watching=True) as made:
        made.room = Room(100 * BUDGET, 90 * BUDGET)
        made.server.samples = True
        made.server.scripts[A] = Script(size=100 * MB, grows=60 * MB)
        gateway = made.follow()
        await made.assign(spec(A, memory=None))
        await made.activate(A)
        made.server.bodies = 1
        made.actor.followers.usage(gateway, ModelName(A), 0, 1)
        await asyncio.sleep(3.0)
        assert made.report(A).measured_bytes == 160 * MB


@in_virtual_time
async def test_what_an_unload_leaves_behind_is_withheld_at_once() -> None:
    async with world(budget=BUDGET, weighs=True) as made:
        made.server.scripts[A] = Script(size=100 * MB, leak=40 * MB)
        await made.assign(spec(A, memory=None))
        await made.activate(A)
        await asyncio.sleep(1.0)
        made.actor.evict(ModelName(A))
        await asyncio.sleep(0.01)
        assert made.actor.statistics().withheld == 40 * MB - made.meter.state.slack


@in_virtual_time
async def test_a_model_that_is_deleted_and_applied_anew_is_weighed_anew() -> None:
    async with world(budget=BUDGET, weighs=True) as made:
        made.cache.sizes["/a"] = 100 * MB
        made.server.scripts[A] = Script(size=100 * MB)
        await made.assign(spec(A, memory=None))
        await asyncio.sleep(1.0)
        await made.revoke(A)
        await made.assign(spec(A, 2, memory=None))
        await asyncio.sleep(1.0)
        assert made.server.weighings == [A, A]
