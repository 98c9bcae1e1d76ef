"""Activate and evict for people, and the reports that they then look at."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.commands import Commands
from overbook.residency.events import ModelName
from overbook.residency.states import State
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, World, spec, world


async def _run(made: World, kind: pb.Command.Kind.ValueType, model: str, *, timeout: float) -> str:
    commands = Commands(made.actor, made.assignments)
    return await commands.run(pb.Command(id=1, kind=kind, model=model, timeout_seconds=timeout))


async def _evict(made: World, model: str, *, timeout: float = 10.0) -> str:
    return await _run(made, pb.Command.EVICT, model, timeout=timeout)


async def _activate(made: World, model: str) -> str:
    return await _run(made, pb.Command.ACTIVATE, model, timeout=10.0)


@in_virtual_time
async def test_evict_waits_until_the_bytes_are_back() -> None:
    async with world() as made:
        made.server.unload_seconds = 2.0
        await made.assign(spec(A))
        began = made.clock.now()
        assert await _evict(made, A) == ""
        assert made.state(A) is State.COLD
        assert made.clock.now() - began == pytest.approx(2.0, abs=0.1)
        assert await _evict(made, A) == "", "it is cold already"


@in_virtual_time
async def test_evict_waits_for_a_load_under_way_first() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=3.0)
        await made.assign(spec(A))
        assert made.state(A) is State.LOADING
        assert await _evict(made, A) == ""
        assert made.server.calls == ["start", "load a", "unload a"]


@in_virtual_time
async def test_evict_waits_for_a_reload_under_way_first() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.server.scripts[A] = Script(seconds=3.0)
        await made.assign(spec(A, 2, fingerprint="2"))
        assert made.state(A) is State.RELOADING
        assert await _evict(made, A) == ""
        assert made.server.calls[-1] == "unload a"


@in_virtual_time
async def test_evict_says_so_when_the_model_is_asked_for_meanwhile() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.follow()
        evicting = asyncio.create_task(_evict(made, A))
        await settle()
        await made.activate(A)
        assert "in use" in await evicting


@in_virtual_time
async def test_evict_that_takes_too_long_says_where_it_is() -> None:
    async with world() as made:
        made.server.unload_seconds = 50.0
        await made.assign(spec(A))
        assert await _evict(made, A, timeout=2) == "model 'a' is still unloading after 2 s"


@in_virtual_time
async def test_commands_for_what_is_not_here_say_so() -> None:
    async with world() as made:
        assert "not on this server replica" in await _evict(made, A)
        assert "not assigned" in await _activate(made, A)
        assert "unknown" in await _run(made, pb.Command.KIND_UNSPECIFIED, A, timeout=1)


@in_virtual_time
async def test_activate_says_why_not() -> None:
    async with world() as made:
        made.server.scripts[B] = Script(fail="bad pickle")
        await made.assign(spec(A), spec(B))
        assert await _activate(made, A) == ""
        assert await _activate(made, B) == "bad pickle"


@in_virtual_time
async def test_reports_show_bytes_counts_and_use() -> None:
    async with world() as made:
        await made.assign(spec(A, memory=2 * MB), spec(B, memory=None))
        gateway = made.follow()
        await made.activate(A)
        made.actor.followers.usage(gateway, ModelName(A), 3, 1)
        report = made.report(A)
        assert (report.state, report.declared_bytes) == (common.RESIDENT, 2 * MB)
        assert (report.charged_bytes, report.size_bytes) == (2 * MB, 2 * MB)
        assert (report.in_flight, report.loads, report.evictions) == (3, 1, 0)
        assert report.last_used == pytest.approx(made.clock.wall(), abs=5)
        guessed = made.report(B)
        assert not guessed.HasField("declared_bytes")
        assert (guessed.measured_bytes, guessed.size_bytes) == (MB, MB)
        server = made.reporter.server()
        assert (server.state, server.resident_models) == ("ready", 2)
        assert server.resident_bytes == 3 * MB
        assert server.base_bytes == made.server.base_bytes


@in_virtual_time
async def test_a_model_larger_than_the_budget_is_reported_with_the_numbers() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A, memory=2 * MB))
        report = made.report(A)
        assert (report.state, report.failed, report.available) == (common.FAILED, True, False)
        assert "2" in report.last_error
        made.actor.set_budget(5 * MB)
        await settle()
        assert made.report(A).available


@in_virtual_time
async def test_an_agent_that_leaves_says_so_to_who_would_have_a_model_loaded() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await made.actor.leave()
        assert await _activate(made, A) == "the agent of this server replica is stopping"
