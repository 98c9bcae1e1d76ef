"""The agent acts by what is known of a death: the culprit is held back and named, the others come back at once."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.deaths import Activity, Call, CallKind, Calls
from overbook.agent.operations import OperationLimits
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import A, B, C, World, spec, world


def running(*models: str, activity: Activity = Activity.ON_LOOP) -> Calls:
    return Calls(tuple(Call(model, CallKind.REQUEST, activity) for model in models))


async def dies(made: World, *models: str, code: int = -11) -> None:
    made.server.open = running(*models)
    made.server.crash(code)
    await settle()
    made.server.open = Calls()


def told(made: World, reason: str) -> list[tuple[str, str]]:
    return [(each.model, each.message) for each in made.notices.events if each.reason == reason]


@in_virtual_time
async def test_the_first_time_costs_it_a_moment_and_the_second_its_place() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B))
        await made.activate(A)
        await made.activate(B)
        await dies(made, A)
        first = await made.activate(A)
        assert first.refusal is Refusal.LOAD_FAILED
        assert (
            first.reason == "the inference server died while answering a request for it: signal 11"
        )
        assert 0 < first.retry_after <= 2.0
        assert made.actor.last_death is not None
        assert made.actor.last_death.calls.begun == {(A, CallKind.REQUEST)}
        assert (await made.activate(B)).refusal is None
        await asyncio.sleep(3)
        assert (await made.activate(A)).refusal is None
        await dies(made, A, B)
        for _ in range(3):
            second = await made.activate(A)
            assert second.refusal is Refusal.LOAD_FAILED
            assert "died 2 times" in second.reason
            assert "overbook activate a" in second.reason
            assert second.retry_after == 0.0
            await asyncio.sleep(1000)
        assert made.state(A) is State.FAILED
        report = made.report(A)
        assert (report.failed, report.final, report.last_error) == (True, True, second.reason)
        assert told(made, "ModelHeldBack") == [(A, second.reason)]
        assert [model for model, _ in told(made, "ModelSuspected")] == [A]
        assert (await made.activate(B)).refusal is None


@in_virtual_time
async def test_the_server_is_started_at_once_when_somebody_is_suspected() -> None:
    async with world() as made:
        await made.assign(*(spec(f"m{number}") for number in range(8)))
        for number in range(8):
            await made.activate(f"m{number}")
            began = made.clock.now()
            await dies(made, f"m{number}")
            await made.activate(f"m{(number + 4) % 8}", timeout=5)
            assert made.clock.now() - began < 0.5


@in_virtual_time
async def test_a_kill_from_outside_accuses_nobody() -> None:
    async with world() as made:
        await made.assign(spec(A))
        for _ in range(5):
            await made.activate(A)
            await dies(made, A, code=-9)
            assert (await made.activate(A, timeout=60)).refusal is None
        assert told(made, "ModelSuspected") == told(made, "ModelHeldBack") == []


@in_virtual_time
async def test_what_loads_by_chance_when_another_ones_request_kills_is_not_blamed() -> None:
    async with world() as made:
        made.server.scripts[B] = Script(seconds=5.0)
        await made.assign(spec(A), spec(B))
        await made.activate(A)
        for _ in range(2):
            waiting = made.wish(B, timeout=100)
            await asyncio.sleep(3)
            await dies(made, A)
            assert (await waiting).refusal is None
            made.actor.evict(ModelName(B))
            await settle()
        assert {model for model, _ in told(made, "ModelSuspected")} == {A}
        assert [model for model, _ in told(made, "ModelHeldBack")] == [A]


@pytest.mark.parametrize("freed", ["by a person", "by a change"])
@in_virtual_time
async def test_it_is_freed(freed: str) -> None:
    async with world() as made:
        await made.assign(spec(A))
        for _ in range(2):
            await made.activate(A)
            await dies(made, A)
            await asyncio.sleep(3)
        assert made.report(A).final
        if freed == "by a person":
            made.assignments.try_again(ModelName(A))
        else:
            await made.assign(spec(A, 2, fingerprint="2"))
        assert (await made.activate(A)).refusal is None
        await dies(made, A)
        assert not made.report(A).final, "it begins anew"


@in_virtual_time
async def test_a_death_while_the_process_is_being_replaced_is_somebodys_too() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await made.activate(A)
        made.actor.followers.attach("a gateway that does not answer")
        made.supervisor.recycle("it loses memory")
        await asyncio.sleep(10)
        assert made.state(A) is State.DRAINING
        await dies(made, A)
        assert [model for model, _ in told(made, "ModelSuspected")] == [A]
        await asyncio.sleep(10)
        assert made.server.calls.count("start") == 2


@in_virtual_time
async def test_a_silent_server_is_ended_when_it_owes_answers_and_who_blocks_it_is_named() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B))
        await made.activate(A)
        await made.activate(B)
        made.server.mute = True
        await asyncio.sleep(1000)
        assert made.server.calls.count("start") == 1, "it owes nothing"
        made.server.open = running(A)
        began = made.clock.now()
        made.server.on_start = asyncio.Event()
        await made.server.on_start.wait()
        made.server.mute, made.server.open = False, Calls()
        assert 85 <= made.clock.now() - began <= 95, "to a look exactly"
        [(_, died)] = told(made, "ServerDied")
        assert "gave no answer for 9" in died
        assert "in a request of model 'a'" in died
        [(_, silent)] = told(made, "ServerSilent")
        assert "model 'a'" in silent
        assert [model for model, _ in told(made, "ModelSuspected")] == [A]
        assert (await made.activate(A)).refusal is Refusal.LOAD_FAILED
        assert (await made.activate(B)).refusal is None


@in_virtual_time
async def test_a_busy_server_that_gets_on_is_left_alone() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await made.activate(A)
        made.server.mute = True
        for beat in range(60):
            made.server.open = Calls(running(A).open, beat=beat)
            await asyncio.sleep(20)
        assert made.server.calls.count("start") == 1


@in_virtual_time
async def test_it_is_not_said_to_be_silent_any_more_when_it_answers_again() -> None:
    async with world() as made:
        made.server.mute, made.server.open = True, running(A)
        await asyncio.sleep(45)
        assert "has not answered" in made.reporter.server().message
        made.server.mute = False
        await asyncio.sleep(15)
        assert made.reporter.server().message == ""
        assert made.events().count("ServerAnswers") == 1
        assert made.server.calls.count("start") == 1


@in_virtual_time
async def test_a_death_in_a_load_that_nobody_waits_for_is_reported() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=5.0)
        await made.assign(spec(A))
        waiting = made.wish(A)
        await asyncio.sleep(1)
        waiting.cancel()
        await settle()
        assert made.state(A) is State.LOADING
        made.notices.dirty.clear()
        made.server.start_failure = "not yet"
        made.server.crash()
        await settle()
        assert A in made.notices.dirty, "the scheduler would say loading for ever"


@in_virtual_time
async def test_an_unload_that_goes_wrong_is_told_and_costs_nobody_the_process() -> None:
    async with world(operations=OperationLimits(unload=5.0)) as made:
        made.server.unload_problem = "its unload() did not end within 30 s"
        await made.assign(spec(A), spec(C))
        await made.activate(A)
        made.actor.evict(ModelName(A))
        await asyncio.sleep(1)
        assert made.state(A) is State.COLD
        assert made.server.calls.count("start") == 1
        [(model, message)] = told(made, "ModelUnloadFailed")
        assert model == A
        assert "did not end within 30 s" in message


@in_virtual_time
async def test_whoever_is_asked_while_an_unload_is_refused_is_not_to_blame_for_the_end() -> None:
    """The process is ended, since nobody knows what it still holds; but it answered all the time."""
    async with world() as made:
        await made.assign(spec(A), spec(B))
        await made.activate(A)
        await made.activate(B)
        made.server.unload_refused = "RuntimeError: something of its own"
        made.server.open = running(B)
        made.actor.evict(ModelName(A))
        await asyncio.sleep(5)
        made.server.open, made.server.unload_refused = Calls(), ""
        assert [model for model, _ in told(made, "ModelSuspected")] == []
        assert (await made.activate(B)).refusal is None
        assert (await made.activate(A)).refusal is None
