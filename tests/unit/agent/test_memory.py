"""Models that are not what they say, through the whole agent: what is charged, who leaves, what is replaced."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.memory.machine import Room
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, C, causes, charged, spec, world

BUDGET = 1000 * MB


# -- declarations


@in_virtual_time
async def test_ten_times_too_small_is_a_deficit_that_evicts_before_the_next_load() -> None:
    async with world(budget=BUDGET) as made:
        made.server.scripts.update(
            a=Script(size=400 * MB), b=Script(size=400 * MB), c=Script(size=700 * MB, seconds=1.0)
        )
        await made.assign(spec(A, memory=400 * MB), spec(B, memory=400 * MB))
        await made.activate(A)
        await asyncio.sleep(1)
        await made.activate(B)
        await asyncio.sleep(1)
        await made.assign(spec(C, memory=70 * MB))
        assert (await made.activate(C)).refusal is None
        await settle()
        assert made.state(C) is State.RESIDENT
        assert made.state(A) is State.COLD
        assert causes(made) == ["surprise", "surprise"]
        assert charged(made) == 700 * MB
        assert made.report(C).measured_bytes == 700 * MB
        assert made.report(C).size_bytes == 700 * MB
        assert made.report(C).declared_bytes == 70 * MB


@in_virtual_time
async def test_ten_times_too_small_is_no_deficit_where_its_files_show_it() -> None:
    async with world(budget=BUDGET) as made:
        made.cache.sizes["/c"] = 700 * MB
        made.server.scripts.update(
            a=Script(size=400 * MB), b=Script(size=400 * MB), c=Script(size=720 * MB, seconds=1.0)
        )
        await made.assign(spec(A, memory=400 * MB), spec(B, memory=400 * MB))
        await made.activate(A)
        await made.activate(B)
        await asyncio.sleep(1)
        await made.assign(spec(C, memory=70 * MB))
        assert made.report(C).size_bytes == 70 * MB, "what is registered is what was declared"
        waiting = made.wish(C)
        await asyncio.sleep(0.5)
        assert charged(made) == BUDGET, "as much as there is, until its load ended"
        assert (await waiting).refusal is None
        assert causes(made) == ["pressure", "pressure"]
        assert charged(made) == 720 * MB


@in_virtual_time
async def test_what_is_declared_no_smaller_than_its_files_fits_exactly() -> None:
    async with world(budget=10 * MB) as made:
        names = "abcdefghijk"
        for name in names:
            made.cache.sizes[f"/{name}"] = 30_000
            made.server.scripts[name] = Script(size=200_000)
        await made.assign(*(spec(name, memory=MB) for name in names))
        for name in names:
            assert (await made.activate(name)).refusal is None
            await asyncio.sleep(1)
        assert made.actor.statistics().resident == 10
        assert charged(made) == 10 * MB


@in_virtual_time
async def test_ten_times_too_large_makes_room_for_others() -> None:
    async with world(budget=BUDGET) as made:
        made.server.scripts.update(a=Script(size=60 * MB), b=Script(size=900 * MB))
        await made.assign(spec(A, memory=600 * MB))
        await made.activate(A)
        await made.assign(spec(B, memory=900 * MB))
        assert (await made.activate(B)).refusal is None
        assert made.state(A) is State.RESIDENT
        assert charged(made) == 960 * MB


@in_virtual_time
async def test_a_model_that_turns_out_larger_than_the_budget_is_refused_with_numbers() -> None:
    async with world(budget=100 * MB) as made:
        made.server.scripts[A] = Script(size=500 * MB)
        await made.assign(spec(A, memory=50 * MB))
        await made.activate(A)
        await asyncio.sleep(2)
        assert made.state(A) is State.FAILED
        answer = await made.activate(A)
        assert answer.refusal is Refusal.NO_ROOM
        assert "500000000" in answer.reason
        assert "500000000" in made.report(A).last_error
        assert made.server.loads == [A]


@in_virtual_time
async def test_models_without_a_declaration_are_charged_what_they_take_at_their_second_load() -> (
    None
):
    async with world(budget=100 * MB) as made:
        for name in "abcdefgh":
            made.cache.sizes[f"/{name}"] = 10 * MB
            made.server.scripts[name] = Script(size=30 * MB)
        await made.assign(*(spec(name, memory=None) for name in "abcdefgh"))
        for name in "abcdefgh":
            await made.activate(name)
            await asyncio.sleep(1)
            assert made.server.held - made.server.base_bytes <= 100 * MB + 30 * MB
        for name in "abcdefgh":
            await made.activate(name)
            await asyncio.sleep(1)
            assert made.server.held - made.server.base_bytes <= 100 * MB
            assert charged(made) == made.server.held - made.server.base_bytes


@in_virtual_time
async def test_a_model_nobody_has_loaded_is_guessed_by_what_its_kind_became() -> None:
    async with world(budget=BUDGET) as made:
        for name in "abcd":
            made.cache.sizes[f"/{name}"] = 10 * MB
            made.server.scripts[name] = Script(size=50 * MB)
        await made.assign(*(spec(name, memory=None) for name in "abc"))
        for name in "abc":
            await made.activate(name)
        await made.assign(spec("d", memory=None))
        await settle()
        assert made.report("d").size_bytes == pytest.approx(50 * MB)


# -- bytes that do not come back


@in_virtual_time
async def test_a_leak_is_withheld_and_the_process_replaced_without_a_failed_request() -> None:
    async with world(budget=BUDGET, watching=True) as made:
        for name in (A, B, C):
            made.server.scripts[name] = Script(size=300 * MB, leak=40 * MB if name == A else 0)
        await made.assign(*(spec(name, memory=300 * MB) for name in (A, B, C)))
        await made.activate(B)
        for _ in range(12):
            assert (await made.activate(A)).refusal is None
            await asyncio.sleep(0.5)
            made.actor.evict(ModelName(A))
            await asyncio.sleep(3.0)
            assert made.server.held <= made.meter.state.ceiling(charged(made)) + 2 * MB
        await asyncio.sleep(5.0)
        assert "ServerRecycled" in made.events()
        assert "ServerDied" not in made.events()
        assert made.server.leaked < 0.4 * BUDGET + 2 * 40 * MB
        assert made.state(B) is State.RESIDENT, "the hot set is back"
        assert made.report(A).size_bytes == 300 * MB, "the leak is not the model's size"


@in_virtual_time
async def test_while_requests_hold_much_little_is_proven_lost() -> None:
    """What they hold is an estimate, and the process is not replaced under them for its error."""
    async with world(budget=BUDGET, watching=True, weighs=True) as made:
        made.server.scripts[A] = Script(size=10 * MB, leak=300 * MB)
        await made.assign(spec(A, memory=10 * MB))
        made.server.bodies = 400 * MB
        await made.activate(A)
        made.actor.evict(ModelName(A))
        await asyncio.sleep(60.0)
        assert made.meter.state.withheld > 0.2 * BUDGET
        assert "ServerRecycled" not in made.events()
        made.server.bodies = 0
        await asyncio.sleep(30.0)
        assert "ServerRecycled" in made.events()


@in_virtual_time
async def test_requests_wait_while_the_process_is_replaced() -> None:
    async with world(budget=BUDGET) as made:
        await made.assign(spec(A), spec(B))
        gateway = made.follow()
        made.actor.followers.usage(gateway, ModelName(A), 1, 1)
        made.supervisor.recycle("for the test")
        await settle()
        assert made.state(A) is State.DRAINING
        waiting = made.wish(A)
        await asyncio.sleep(1.0)
        assert not waiting.done()
        assert "stop" not in made.server.calls
        made.actor.followers.usage(gateway, ModelName(A), 0, 0)
        made.actor.followers.detach(gateway)
        assert (await waiting).refusal is None
        await asyncio.sleep(1.0)
        assert made.state(B) is State.RESIDENT
        assert made.events().count("ServerReady") == 2


@in_virtual_time
async def test_a_process_that_dies_while_it_is_replaced_is_simply_dead() -> None:
    async with world(budget=BUDGET) as made:
        await made.assign(spec(A))
        gateway = made.follow()
        made.actor.followers.usage(gateway, ModelName(A), 1, 1)
        made.supervisor.recycle("for the test")
        await settle()
        made.server.crash()
        await asyncio.sleep(2.0)
        assert (await made.activate(A)).refusal is None


@in_virtual_time
async def test_what_comes_back_at_once_in_a_new_process_is_its_own() -> None:
    """A framework of 300 MB that the first model imports: two processes, and then peace."""
    async with world(budget=BUDGET, watching=True) as made:
        made.server.scripts[A] = Script(size=10 * MB, leak=300 * MB)
        made.server.scripts[B] = Script(size=10 * MB)
        await made.assign(spec(B, memory=10 * MB))
        for _ in range(3):
            await made.assign(spec(A, memory=10 * MB))
            await made.activate(A)
            await asyncio.sleep(1)
            made.actor.evict(ModelName(A))
            await asyncio.sleep(18)
            made.server.scripts[A] = Script(
                size=10 * MB, leak=0 if made.server.leaked else 300 * MB
            )
        await asyncio.sleep(20)
        assert made.events().count("ServerRecycled") == 1
        assert "ServerBaseGrew" in made.events()
        assert made.actor.statistics().withheld == 0


# -- the guard


@in_virtual_time
async def test_before_the_machine_runs_out_idle_models_leave_and_then_activations_are_refused() -> (
    None
):
    async with world(budget=BUDGET, watching=True) as made:
        for name in (A, B, C):
            made.server.scripts[name] = Script(size=300 * MB)
        made.room = Room(total=16_000 * MB, available=8_000 * MB)
        await made.assign(*(spec(name, memory=300 * MB) for name in (A, B, C)))
        for name in (A, B, C):
            await made.activate(name)
        await asyncio.sleep(1)
        made.room = Room(total=16_000 * MB, available=100 * MB)
        await asyncio.sleep(0.6)
        assert "MemoryPressure" in made.events()
        assert made.state(A) is State.COLD
        assert set(causes(made)) == {"guard"}
        await asyncio.sleep(2)
        answer = await made.activate(A)
        assert answer.refusal is Refusal.OVERLOADED
        assert "memory is running short" in answer.reason
        assert answer.retry_after > 0
        made.room = Room(total=16_000 * MB, available=4_000 * MB)
        await asyncio.sleep(2)
        assert (await made.activate(A)).refusal is None
        assert made.events()[-2:] != ["MemoryPressure"]
        assert "MemoryPressureOver" in made.events()


@pytest.mark.parametrize("counted", [True, False], ids=["in flight", "between looks of the meters"])
@in_virtual_time
async def test_a_model_is_not_evicted_for_what_its_inference_has_given_back(counted: bool) -> None:
    async with world(budget=BUDGET) as made:
        made.server.scripts[A] = Script(size=300 * MB)
        made.room = Room(total=16_000 * MB, available=8_000 * MB)
        await made.assign(spec(A, memory=300 * MB))
        gateway = made.follow()
        await made.activate(A)
        if counted:
            made.actor.followers.usage(gateway, ModelName(A), 1, 1)
        made.probe.borrowed = 2 * BUDGET
        await made.watch.tick()
        assert made.events()[-1] == "MemoryPressure"
        made.probe.borrowed = 0
        if counted:
            made.actor.followers.usage(gateway, ModelName(A), 0, 0)
        else:
            # Nobody knew of the request, so it was to leave; nothing is in flight any more.
            made.actor.followers.withdrawn(gateway, ModelName(A), made.withdrawal(gateway))
        await asyncio.sleep(1)
        assert made.state(A) is State.RESIDENT
        assert made.events()[-1] == "MemoryPressureOver"


@in_virtual_time
async def test_the_peak_of_inference_is_learned_of_the_model_that_was_used_alone() -> None:
    async with world(budget=BUDGET, watching=True) as made:
        made.server.scripts[A] = Script(size=100 * MB)
        gateway = made.follow()
        await made.assign(spec(A, memory=100 * MB))
        await made.activate(A)
        await asyncio.sleep(2)
        made.probe.highest = made.server.held + 80 * MB
        made.actor.followers.usage(gateway, ModelName(A), 0, 1)
        await asyncio.sleep(1.1)
        evidence = made.sizes.evidence("a-1")
        assert evidence is not None
        assert evidence.peak == 80 * MB


@in_virtual_time
async def test_models_that_come_and_go_are_no_reason_to_walk_the_process_again() -> None:
    async with world(budget=BUDGET, watching=True) as made:
        made.server.scripts.update(a=Script(size=600 * MB), b=Script(size=900 * MB))
        await made.assign(spec(A, memory=600 * MB), spec(B, memory=900 * MB))
        for model in (A, B):
            await made.activate(model)
        await asyncio.sleep(20)
        begun, made.probe.reads = made.clock.now(), 0
        for number in range(40):
            await made.activate((A, B)[number % 2])
            await asyncio.sleep(0.3)
        passed = made.clock.now() - begun
        assert 0 < made.probe.reads <= passed / 2 + 1, "every two seconds while models move"


@in_virtual_time
async def test_what_no_model_explains_is_looked_at_at_once() -> None:
    async with world(budget=BUDGET, watching=True) as made:
        made.server.scripts.update(a=Script(size=100 * MB))
        await made.assign(spec(A, memory=100 * MB))
        await made.activate(A)
        await asyncio.sleep(20)
        made.probe.reads = 0
        made.probe.borrowed = 300 * MB
        await asyncio.sleep(1.1)
        assert made.probe.reads == 1
        await asyncio.sleep(1.1)
        assert made.probe.reads == 1, "it was seen"


@in_virtual_time
async def test_the_budget_up_and_down() -> None:
    async with world(budget=BUDGET, watching=True) as made:
        for name in (A, B, C):
            made.server.scripts[name] = Script(size=300 * MB)
        await made.assign(*(spec(name, memory=300 * MB) for name in (A, B, C)))
        for name in (A, B, C):
            await made.activate(name)
        await asyncio.sleep(1)
        made.actor.set_budget(400 * MB)
        await asyncio.sleep(1)
        assert charged(made) == 300 * MB
        assert causes(made) == ["budget", "budget"]
        made.actor.set_budget(BUDGET)
        assert (await made.activate(A)).refusal is None
        assert (await made.activate(B)).refusal is None
        assert charged(made) == 900 * MB


@in_virtual_time
async def test_nobody_is_refused_while_a_fresh_process_is_on_its_way() -> None:
    async with world(budget=BUDGET, watching=True) as made:
        for name in (A, B):
            made.server.scripts[name] = Script(size=300 * MB)
        await made.assign(spec(A, memory=300 * MB), spec(B, memory=300 * MB))
        gateway = made.follow()
        made.actor.followers.usage(gateway, ModelName(A), 1, 1)
        made.supervisor.recycle("for the test")  # and A is in use, so it takes a while
        made.room = Room(total=16_000 * MB, available=100 * MB)
        await asyncio.sleep(5)
        waiting = made.wish(B)
        await asyncio.sleep(1)
        assert not waiting.done()
        made.room = Room(total=16_000 * MB, available=8_000 * MB)
        made.actor.followers.detach(gateway)
        assert (await waiting).refusal is None
