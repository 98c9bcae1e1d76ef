"""Servers that are seen from outside, through the whole agent: whose bytes came, and which are seen back."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.servers.protocol import ProcessMemory
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, charged, spec, world

BUDGET = 1000 * MB


@in_virtual_time
async def test_unknown_contents_are_loaded_one_after_the_other() -> None:
    async with world(budget=BUDGET) as made:
        for name in (A, B):
            made.server.scripts[name] = Script(size=100 * MB, seconds=1.0)
        await made.assign(spec(A, memory=10 * MB), spec(B, memory=10 * MB))
        began = made.clock.now()
        await asyncio.gather(made.activate(A), made.activate(B))
        assert made.clock.now() - began == pytest.approx(2.0, abs=0.2)
        assert made.report(A).measured_bytes == made.report(B).measured_bytes == 100 * MB
        made.actor.evict(ModelName(A))
        made.actor.evict(ModelName(B))
        await asyncio.sleep(1)
        began = made.clock.now()
        await asyncio.gather(made.activate(A), made.activate(B))
        assert made.clock.now() - began == pytest.approx(1.0, abs=0.2), "known ones load together"


@in_virtual_time
async def test_a_first_inference_that_allocates_is_part_of_the_model() -> None:
    async with world(budget=BUDGET) as made:
        made.server.scripts[A] = Script(size=100 * MB)
        gateway = made.follow()
        await made.assign(spec(A, memory=100 * MB))
        await made.activate(A)
        made.probe.borrowed = 60 * MB
        made.actor.followers.usage(gateway, ModelName(A), 0, 1)
        assert made.report(A).measured_bytes == 160 * MB
        assert charged(made) == 160 * MB


@in_virtual_time
async def test_the_same_files_under_another_name_are_known_already() -> None:
    async with world(budget=BUDGET) as made:
        made.cache.digests |= {"/a": "same", "/b": "same"}
        made.server.scripts.update(a=Script(size=100 * MB), b=Script(size=100 * MB))
        await made.assign(spec(A, memory=10 * MB), spec(B, memory=20 * MB))
        made.actor.evict(ModelName(B))
        await made.activate(A)
        await settle()
        assert made.report(B).measured_bytes == 100 * MB


@in_virtual_time
async def test_what_others_hold_beyond_their_charges_holds_up_no_unload_of_a_process() -> None:
    async with world(budget=BUDGET) as made:
        made.server.isolated = True
        made.server.scripts[A] = Script(size=100 * MB, grows=60 * MB)
        await made.assign(spec(A, memory=None), spec(B, memory=None))
        await made.activate(A)
        await made.activate(B)
        made.actor.evict(ModelName(B))
        await asyncio.sleep(0.1)
        assert made.state(B) is State.COLD
        assert made.actor.statistics().withheld == 0, "its own process has ended"


@in_virtual_time
async def test_a_process_of_its_own_is_asked_again_after_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [100 * MB, 160 * MB, 170 * MB]
    async with world(budget=BUDGET, watching=True) as made:

        async def model_memory(name: str) -> ProcessMemory:
            return ProcessMemory(bytes=own.pop(0), processes=1)

        monkeypatch.setattr(made.server, "model_memory", model_memory)
        gateway = made.follow()
        await made.assign(spec(A, memory=100 * MB))
        await made.activate(A)
        assert made.report(A).measured_bytes == 100 * MB
        for _ in range(2):
            made.actor.followers.usage(gateway, ModelName(A), 0, 1)
            await asyncio.sleep(3.0)
            assert made.report(A).measured_bytes == 160 * MB
        assert own == [170 * MB], "once"


@in_virtual_time
async def test_bytes_are_credited_when_they_are_seen_back() -> None:
    async with world(budget=100 * MB) as made:
        made.server.scripts.update(a=Script(size=90 * MB), b=Script(size=90 * MB))
        await made.assign(spec(A, memory=90 * MB))
        await made.assign(spec(B, memory=90 * MB))
        made.probe.borrowed = 50 * MB  # more than the slack: as if it had not given anything back
        waiting = made.wish(B)
        await asyncio.sleep(1.0)
        assert made.state(A) is State.UNLOADING
        assert made.server.loads == [A]
        made.probe.borrowed = 0
        await asyncio.sleep(0.2)
        assert (await waiting).refusal is None
