"""A model that cannot be loaded because of what it calls is not ready, and says why."""

from __future__ import annotations

import asyncio

from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time
from tests.unit.agent.world import MB, A, B, C, World, spec, world


def caller(memory: int = MB) -> pb.AssignedModel:
    """`C` calls `A` and `B`."""
    made = spec(C, memory=memory)
    made.callees.extend([A, B])
    return made


def _take(made: World, *sizes: int) -> None:
    """What the models take in the server."""
    made.server.scripts |= {
        name: Script(size=size) for name, size in zip((A, B, C), sizes, strict=True)
    }


async def _is_refused(made: World) -> str:
    """Its reason, which requests get as well."""
    report = made.report(C)
    answer = await made.activate(C)
    assert answer.refusal is not None
    assert answer.reason == report.last_error
    assert (report.available, report.failed, report.final) == (False, True, False)
    assert (report.state, report.serving_generation) == (common.FAILED, 0)
    return report.last_error


@in_virtual_time
async def test_who_never_fits_beside_what_it_calls_is_not_ready_however_long_it_waits() -> None:
    async with world(budget=10 * MB) as made:
        _take(made, 7 * MB, 5 * MB, MB)
        await made.assign(spec(A, memory=7 * MB), spec(B, memory=5 * MB), caller())
        words = "model 'c' and what it calls (a, b) need 12.4MiB (13000000 bytes) together"
        for seconds in (0, 2, 100):
            await asyncio.sleep(seconds)
            assert words in await _is_refused(made)
        assert made.report(A).available
        assert made.report(B).available


@in_virtual_time
async def test_it_is_ready_when_the_budget_has_grown_and_not_when_it_shrinks() -> None:
    async with world(budget=10 * MB) as made:
        _take(made, 7 * MB, 5 * MB, MB)
        await made.assign(spec(A, memory=7 * MB), spec(B, memory=5 * MB), caller())
        await asyncio.sleep(100)
        made.notices.dirty.clear()
        made.actor.set_budget(20 * MB)
        await asyncio.sleep(2)
        assert C in made.notices.dirty, "the scheduler is told"
        report = made.report(C)
        assert (report.available, report.failed, report.last_error) == (True, False, "")
        assert (await made.activate(C)).refusal is None
        made.actor.evict(ModelName(C))
        made.actor.set_budget(10 * MB)
        await asyncio.sleep(2)
        assert "more than the" in await _is_refused(made)


@in_virtual_time
async def test_it_is_ready_when_what_it_calls_turns_out_smaller() -> None:
    async with world(budget=10 * MB) as made:
        _take(made, 7 * MB, 5 * MB, MB)
        await made.assign(spec(A, memory=7 * MB), spec(B, memory=5 * MB), caller())
        await asyncio.sleep(2)
        assert made.report(C).failed
        made.notices.dirty.clear()
        _take(made, 2 * MB, 5 * MB, MB)
        await made.assign(spec(A, 2, fingerprint="2", memory=2 * MB))
        await asyncio.sleep(2)
        assert C in made.notices.dirty
        assert not made.report(C).failed


@in_virtual_time
async def test_a_callee_that_was_given_up_is_its_callers_failure() -> None:
    async with world(budget=10 * MB) as made:
        made.server.scripts[A] = Script(fail="ModuleNotFoundError: No module named 'nowhere'")
        await made.assign(spec(A), spec(B), caller())
        await asyncio.sleep(100)
        assert made.report(A).final
        assert "calls 'a', which cannot be loaded: ModuleNotFound" in await _is_refused(made)
        assert (await made.activate(C)).refusal is Refusal.LOAD_FAILED
