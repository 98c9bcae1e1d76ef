"""Requests, evictions and updates through actor, core and fake server: one answer each, one operation at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from overbook.agent.activation import Activation, AgentStops
from overbook.agent.followers import Follower
from overbook.agent.servers.protocol import PreparedModel
from overbook.residency.core import IllegalEvent
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName, Ticket, Unloaded
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, World, spec, world


def _scripted(made: World, **scripts: Script) -> None:
    made.server.scripts.update(scripts)


@in_virtual_time
async def test_a_cold_model_is_loaded_once_for_all_who_wait() -> None:
    async with world(budget=MB) as made:
        _scripted(made, a=Script(seconds=2.0))
        await made.assign(spec(B), spec(A))
        assert made.state(A) is State.COLD
        answers = await asyncio.gather(*(made.activate(A) for _ in range(20)))
        assert {answer.refusal for answer in answers} == {None}
        assert made.server.loads == [B, A]
        assert answers[0].load == pytest.approx(2.0)
        assert answers[0].waited == pytest.approx(2.0, abs=0.5)


@in_virtual_time
async def test_a_hot_model_answers_at_once_and_claims_no_load_time() -> None:
    async with world() as made:
        _scripted(made, a=Script(seconds=2.0))
        await made.assign(spec(A))
        await asyncio.sleep(5)
        answer = await made.activate(A)
        assert (answer.refusal, answer.waited, answer.load) == (None, 0.0, 0.0)
        suspicious = await made.activate(A, suspect=True)
        assert (suspicious.refusal, suspicious.load) == (None, 0.0)


@in_virtual_time
async def test_a_waiter_that_leaves_takes_its_wish_along() -> None:
    async with world(budget=MB) as made:
        _scripted(made, b=Script(seconds=5.0))
        await made.assign(spec(A))
        await made.assign(spec(B))
        follower = made.follow()
        waiting = made.wish(B)
        await settle()
        assert made.state(A) is State.DRAINING
        waiting.cancel()
        await settle()
        assert waiting.cancelled()
        assert made.state(A) is State.RESIDENT, "nobody wants the room any more"
        assert made.server.loads == [A]
        assert made.heard(follower)


@in_virtual_time
async def test_an_activation_cancelled_in_the_turn_in_which_it_is_answered() -> None:
    async with world() as made:
        await made.assign(spec(A))
        waiting = made.wish(A)
        await asyncio.sleep(0)  # answered, but its task has not run since
        waiting.cancel()
        await settle()
        assert waiting.cancelled() or waiting.result().refusal is None
        assert (await made.activate(A)).refusal is None


@in_virtual_time
async def test_a_wait_ends_at_its_deadline() -> None:
    async with world(budget=MB) as made:
        _scripted(made, b=Script(seconds=60.0))
        await made.assign(spec(A))
        await made.assign(spec(B))
        began = made.clock.now()
        answer = await made.activate(B, timeout=7.0)
        assert answer.refusal is Refusal.DEADLINE
        assert made.clock.now() - began == pytest.approx(7.0)


@in_virtual_time
async def test_nothing_is_unloaded_before_every_gateway_withdrew() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        first, second = made.follow("first"), made.follow("second")
        waiting = made.wish(B)
        await asyncio.sleep(1)
        [withdraw] = [
            each for each in made.heard(first) if each.WhichOneof("message") == "withdraw"
        ]
        ticket = Ticket(withdraw.withdraw.ticket)
        made.actor.followers.withdrawn(first, ModelName(A), ticket)
        await asyncio.sleep(1)
        assert made.state(A) is State.DRAINING
        made.actor.followers.detach(second)  # it was killed: nobody waits for it
        await settle()
        assert (await waiting).refusal is None
        assert made.state(A) is State.COLD


@in_virtual_time
async def test_without_gateways_a_drain_ends_in_the_same_event() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        assert (await made.activate(B)).refusal is None
        assert made.server.calls[-2:] == ["unload a", "load b"]


@in_virtual_time
async def test_a_request_rescues_a_draining_model() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        follower = made.follow()
        waiting = made.wish(B)
        await settle()
        answer = await made.grant(A)
        assert answer.refusal is None
        assert made.state(A) is State.RESIDENT
        assert "unload a" not in made.server.calls
        assert made.heard(follower)
        waiting.cancel()


@in_virtual_time
async def test_what_is_granted_stays_until_it_is_passed_on() -> None:
    """Also when its gateway has taken the route away before it heard that."""
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        granted = await made.grant(A)
        waiting = made.wish(B)
        made.actor.evict(ModelName(A))
        await asyncio.sleep(1)
        assert made.state(A) is State.DRAINING
        made.actor.passed(granted.request)
        await settle()
        assert made.state(A) is State.COLD
        assert (await waiting).refusal is None


@in_virtual_time
async def test_a_caller_that_is_gone_when_it_is_granted_holds_nothing_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.actor.evict(ModelName(A))
        await settle()
        waiting = asyncio.create_task(made.grant(A))
        answer = made.actor._waiters.answer

        def answered(*what: Any) -> ModelName | None:
            model = answer(*what)
            waiting.cancel()
            return model

        monkeypatch.setattr(made.actor._waiters, "answer", answered)
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert made.state(A) is State.RESIDENT
        made.actor.evict(ModelName(A))
        await settle()
        assert made.state(A) is State.COLD


@in_virtual_time
async def test_the_server_is_asked_whether_all_has_arrived_and_ended() -> None:
    async with world(budget=MB, counts_requests=True) as made:
        made.server.scripts[A] = Script(size=MB, thinks=5.0)
        await made.assign(spec(A))
        gateway = made.follow("one")
        made.actor.evict(ModelName(A))
        await settle()
        made.actor.followers.let_through(gateway, ModelName(A), 1, 1)
        made.actor.followers.withdrawn(gateway, ModelName(A), made.withdrawal(gateway))
        await asyncio.sleep(0.5)
        assert made.state(A) is State.DRAINING, "one was let through and has not arrived"
        made.server.arrived[A, "one"] += 1
        answering = asyncio.create_task(made.server.answer(A))
        await asyncio.sleep(4)
        assert made.state(A) is State.DRAINING, "it is there"
        await answering
        await asyncio.sleep(0.1)
        assert made.state(A) is State.COLD


@pytest.mark.parametrize("rescued", [True, False], ids=["rescued", "its time is over"])
@in_virtual_time
async def test_what_is_waited_for_in_vain_is_not_waited_for_ever(rescued: bool) -> None:
    async with world(budget=MB, counts_requests=True) as made:
        made.server.scripts[A] = Script(size=MB, thinks=1000.0)
        await made.assign(spec(A))
        await made.assign(spec(B))
        gateway = made.follow("one")
        answering = asyncio.create_task(made.server.answer(A))
        waiting = made.wish(B, timeout=300.0)
        await settle()
        made.actor.followers.withdrawn(gateway, ModelName(A), made.withdrawal(gateway))
        await asyncio.sleep(1)
        assert made.state(A) is State.DRAINING
        if rescued:
            assert (await made.grant(A)).refusal is None
            await asyncio.sleep(1)
            assert made.state(A) is State.RESIDENT
            waiting.cancel()
        else:
            assert (await waiting).refusal is None
            assert made.state(A) is State.COLD
        answering.cancel()


@in_virtual_time
async def test_the_server_tells_the_end_of_a_request_before_the_meters_do() -> None:
    async with _in_use_and_waited_for() as (made, _, waiting):
        await asyncio.sleep(4.9)
        assert made.state(A) is State.RESIDENT, "it is in use"
        await asyncio.sleep(0.2)
        assert made.state(A) is State.DRAINING
        assert not waiting.done()


@in_virtual_time
async def test_a_server_that_does_not_count_is_not_asked() -> None:
    async with _in_use_and_waited_for(counts_requests=False) as (made, follower, _):
        await asyncio.sleep(6)
        assert made.state(A) is State.RESIDENT, "the meter has not said anything yet"
        made.actor.followers.usage(follower, ModelName(A), 0, 0)
        assert made.state(A) is State.DRAINING


@in_virtual_time
async def test_what_a_meter_saw_after_the_question_outweighs_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _in_use_and_waited_for() as (made, follower, _):
        answers = _delayed_answers(monkeypatch, made, seconds=1.0)
        await asyncio.sleep(5.5)  # the answer is on its way
        made.server.present[A] += 1  # straight from the proxy
        made.actor.followers.usage(follower, ModelName(A), 1, 1)
        await asyncio.sleep(1.0)
        assert made.state(A) is State.RESIDENT
        assert answers == [True]
        made.server.present[A] -= 1
        await asyncio.sleep(1.5)
        assert made.state(A) is State.DRAINING, "it was asked again"


@in_virtual_time
async def test_what_was_let_through_after_the_question_outweighs_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _in_use_and_waited_for() as (made, follower, _):
        answers = _delayed_answers(monkeypatch, made, seconds=1.0)
        await asyncio.sleep(5.5)
        granted = await made.grant(A)
        made.actor.followers.granted("one", 1, granted.request)
        made.actor.followers.let_through(follower, ModelName(A), 1, 1)
        made.actor.followers.passed(follower, [1])
        await asyncio.sleep(2.0)
        assert answers == [True]
        assert made.state(A) is State.RESIDENT, "it has not arrived at the server"
        made.server.arrived[A, "one"] = 1
        await asyncio.sleep(1.5)
        assert made.state(A) is State.DRAINING


@in_virtual_time
async def test_nobody_is_asked_about_models_in_use_that_nobody_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with _in_use_and_waited_for() as (made, _, waiting):
        asked = _delayed_answers(monkeypatch, made, seconds=0.0)
        waiting.cancel()
        await asyncio.sleep(10)
        assert len(asked) <= 1, "the one that was open"
        assert made.state(A) is State.RESIDENT


@in_virtual_time
async def test_a_process_that_dies_takes_the_questions_with_it() -> None:
    async with _in_use_and_waited_for() as (made, _, waiting):
        made.server.crash()
        await asyncio.sleep(5)
        assert (await waiting).refusal is None
        assert made.server.loads == [A, B]


@contextlib.asynccontextmanager
async def _in_use_and_waited_for(
    *, counts_requests: bool = True
) -> AsyncIterator[tuple[World, Follower, asyncio.Task[Activation]]]:
    """A answers a request for 5 s, which a meter saw, and somebody waits for B, for which there is no room."""
    limits = Limits(patience=1000.0)
    async with world(budget=MB, counts_requests=counts_requests, limits=limits) as made:
        _scripted(made, a=Script(size=MB, thinks=5.0), b=Script(size=MB))
        await made.assign(spec(A))
        await made.assign(spec(B))
        follower = made.follow("one")
        answering = asyncio.create_task(made.server.answer(A))
        await settle()
        made.actor.followers.usage(follower, ModelName(A), 1, 1)
        waiting = made.wish(B, timeout=300.0)
        await settle()
        yield made, follower, waiting
        for task in (answering, waiting):
            task.cancel()


def _delayed_answers(monkeypatch: pytest.MonkeyPatch, made: World, *, seconds: float) -> list[bool]:
    """The server's answers take so long to come back from now on. Those that say that a model is idle, as they come."""
    plain = made.server.idle
    seen: list[bool] = []

    async def idle(name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        found = await plain(name, passed, timeout=timeout)
        await asyncio.sleep(seconds)
        if found:
            seen.append(found)
        return found

    monkeypatch.setattr(made.server, "idle", idle)
    return seen


@in_virtual_time
async def test_operations_of_one_model_run_one_after_the_other() -> None:
    async with world() as made:
        made.server.unload_seconds = 3.0
        _scripted(made, a=Script(seconds=1.0))
        await made.assign(spec(A))
        await asyncio.sleep(2)
        made.actor.evict(ModelName(A))
        await settle()
        assert made.state(A) is State.UNLOADING
        assert (await made.activate(A)).refusal is None
        assert made.server.calls == ["start", "load a", "unload a", "load a"]


@in_virtual_time
async def test_an_unload_waits_for_the_call_before_it() -> None:
    async with world() as made:

        async def slow(name: str, *, timeout: float) -> Mapping[str, object]:
            await asyncio.sleep(1)
            return {"name": name, "platform": "told by the server"}

        made.server.metadata = slow  # type: ignore[method-assign]  # asked for after the first load
        await made.assign(spec(A))
        made.actor.evict(ModelName(A))
        await asyncio.sleep(0.9)
        assert "unload a" not in made.server.calls
        await asyncio.sleep(0.2)
        assert made.state(A) is State.COLD
        found = await made.actor.metadata(ModelName(A))
        assert found == {"name": A, "platform": "told by the server"}


@in_virtual_time
async def test_a_load_that_fails_is_told_in_the_servers_words_and_not_repeated_by_requests() -> (
    None
):
    async with world() as made:
        _scripted(made, a=Script(fail="no such estimator"))
        await made.assign(spec(A))
        answers = [await made.activate(A) for _ in range(50)]
        assert {answer.refusal for answer in answers} == {Refusal.LOAD_FAILED}
        assert {answer.reason for answer in answers} == {"no such estimator"}
        assert answers[-1].retry_after > 0
        assert made.server.loads == [A]
        _scripted(made, a=Script())
        await asyncio.sleep(2)
        assert made.state(A) is State.RESIDENT, "tried again by itself after the backoff"


@in_virtual_time
async def test_a_vanished_model_is_loaded_again_for_the_request_that_noticed() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await made.server.unload(A, timeout=1)
        answer = await made.activate(A, suspect=True)
        assert answer.refusal is None
        assert made.server.loads == [A, A]


@in_virtual_time
async def test_what_the_server_says_of_a_model_is_kept_when_the_model_is_cold() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.actor.evict(ModelName(A))
        await settle()
        assert made.state(A) is State.COLD
        found = await made.actor.metadata(ModelName(A))
        assert found is not None
        assert found["name"] == A
        assert await made.actor.metadata(ModelName("stranger")) is None
        configuration = made.actor.configuration(ModelName(A))
        assert configuration is not None
        assert configuration.message == A.encode()
        assert made.actor.configuration(ModelName("stranger")) is None


@in_virtual_time
async def test_nobody_knows_the_configuration_of_what_was_never_loaded() -> None:
    async with world(server_up=False) as made:
        await made.assign(spec(A))
        assert made.actor.configuration(ModelName(A)) is None


@in_virtual_time
async def test_damaged_files_of_a_cold_model_do_not_break_its_metadata() -> None:
    async with world(server_up=False) as made:
        await made.assign(spec(A))
        made.server.invalid["a-1"] = "gone"
        assert await made.actor.metadata(ModelName(A)) is None


@in_virtual_time
async def test_a_timer_wakes_the_core() -> None:
    async with world(budget=MB, limits=Limits(patience=4.0)) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        gateway = made.follow()
        made.actor.followers.usage(gateway, ModelName(A), 1, 1)
        waiting = made.wish(B)
        await asyncio.sleep(3.9)
        assert made.state(A) is State.RESIDENT
        await asyncio.sleep(0.2)
        assert made.state(A) is State.DRAINING
        waiting.cancel()


@in_virtual_time
async def test_a_disagreement_with_the_core_ends_the_agent() -> None:
    async def disagree() -> None:
        async with world() as made:
            await made.assign(spec(A))
            with pytest.raises(IllegalEvent):
                made.actor.feed(Unloaded(ModelName(A)))
            await settle()

    with pytest.raises(BaseExceptionGroup) as raised:
        await disagree()
    assert raised.group_contains(IllegalEvent)


@in_virtual_time
async def test_what_is_said_to_an_agent_that_is_stopping_begins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its Server was deleted: the scheduler takes the models away while the agent is ended, which takes its time."""
    async with world() as made:
        await made.assign(spec(A))
        await made.activate(A)

        async def ends_slowly(model: PreparedModel, *, timeout: float) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(2)

        # A call that is given up takes its time.
        monkeypatch.setattr(made.server, "load", ends_slowly)
        await made.assign(spec(B))
        assert made.state(B) is State.LOADING

        async def take_away() -> None:
            await asyncio.sleep(1.0)
            made.actor.remove(ModelName(A))

        taking_away = asyncio.create_task(take_away())
        await settle()
    await taking_away
    assert "unload a" not in made.server.calls


@in_virtual_time
async def test_an_agent_that_stops_answers_who_waits_and_who_still_comes() -> None:
    async with world(server_up=False) as made:
        await made.assign(spec(A))
        waiting = made.wish(A)
        await settle()
    with pytest.raises(AgentStops):
        await waiting
    with pytest.raises(AgentStops):
        await made.activate(A)


@in_virtual_time
async def test_an_agent_that_leaves_waits_for_what_is_in_flight_and_unloads_nothing() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B))
        assert (await made.activate(A)).refusal is None
        follower = made.follow()
        made.actor.followers.usage(follower, ModelName(A), 2, 2)
        assert made.actor.in_flight == 2
        leaving = asyncio.create_task(made.actor.leave())
        await settle()
        told = [each.withdraw for each in made.heard(follower) if each.HasField("withdraw")]
        assert {each.model for each in told} == {A, B}
        with pytest.raises(AgentStops):
            await made.activate(A)
        # A gateway says so when nothing is in flight there any more.
        tickets = {each.model: Ticket(each.ticket) for each in told}
        made.actor.followers.withdrawn(follower, ModelName(B), tickets[B])
        await settle()
        assert not leaving.done()
        made.actor.followers.withdrawn(follower, ModelName(A), tickets[A])
        await asyncio.wait_for(leaving, 1.0)
        assert not [call for call in made.server.calls if call.startswith("unload")]


@in_virtual_time
async def test_an_agent_that_leaves_sends_those_who_wait_elsewhere_and_waits_for_no_load() -> None:
    async with world() as made:
        _scripted(made, a=Script(seconds=50.0))
        await made.assign(spec(A))
        waiting = made.wish(A)
        await settle()
        await asyncio.wait_for(made.actor.leave(), 1.0)
        with pytest.raises(AgentStops):
            await waiting
