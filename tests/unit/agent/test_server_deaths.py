"""The inference server dies, hangs or goes silent in the middle of things: what it took along is void."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from overbook.agent.operations import OperationLimits
from overbook.agent.servers.protocol import Presence, ServerUnreachable
from overbook.agent.supervisor import Phase
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import State
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, C, World, spec, world

LIMITS = OperationLimits(load=20.0, unload=5.0, verify=2.0)


async def _until(done: Callable[[], bool], *, seconds: float = 120.0) -> None:
    for _ in range(int(seconds * 10)):
        if done():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s")


def _started(made: World, times: int) -> bool:
    return made.server.calls.count("start") == times


def _slow(made: World, *names: str) -> None:
    made.server.scripts.update({name: Script(seconds=5.0) for name in names})


@in_virtual_time
async def test_a_death_during_a_load_costs_its_waiters_time_and_nothing_else() -> None:
    async with world() as made:
        _slow(made, A)
        await made.assign(spec(A))
        waiting = made.wish(A)
        await asyncio.sleep(1)
        made.server.crash()
        assert (await waiting).refusal is None
        assert made.server.loads == [A, A]
        assert made.events().count("ServerDied") == 1


@in_virtual_time
async def test_a_result_of_a_dead_process_is_never_reported() -> None:
    async with world() as made:
        made.server.stubborn = True
        await made.assign(spec(A))
        waiting = made.wish(A)
        await asyncio.sleep(1)
        made.server.crash()
        await settle()
        assert made.server.loads == [A, A], "the next process loads it anew"
        assert not waiting.done()
        assert (await waiting).refusal is None
        assert made.actor.entries[ModelName(A)].loads == 1


@in_virtual_time
async def test_operations_behind_the_one_that_runs_die_with_the_process_too() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.server.unload_seconds = 3.0
        made.actor.evict(ModelName(A))
        waiting = made.wish(A)
        await asyncio.sleep(1)
        assert made.state(A) is State.UNLOADING
        made.server.crash()
        assert (await waiting).refusal is None
        assert made.server.calls == ["start", "load a", "unload a", "start", "load a"]


@in_virtual_time
async def test_every_call_to_a_dead_process_is_given_up_not_only_the_last_of_each_model() -> None:
    async with world() as made:
        given_up = []

        async def silent(name: str, *, timeout: float) -> Mapping[str, object]:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                given_up.append(name)
                raise
            return {}

        made.server.metadata = silent  # type: ignore[method-assign]  # asked for after the first load
        await made.assign(spec(A))
        made.actor.evict(ModelName(A))
        await settle()
        assert made.state(A) is State.DRAINING, "what comes before its unload waits for its turn"
        made.server.start_failure = "not yet"
        made.server.crash()
        await settle()
        assert given_up == [A]


@in_virtual_time
async def test_the_hot_set_comes_back_latest_used_first() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B), spec(C))
        for name in (C, A, B):
            await made.activate(name)
            await asyncio.sleep(1)
        made.server.calls.clear()
        made.server.crash()
        await _until(lambda: len(made.server.loads) == 3)
        assert made.server.loads == [B, A, C]


@in_virtual_time
async def test_a_model_that_kills_the_server_twice_is_held_back() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=1.0, crash=True)
        await made.assign(spec(A))
        answer = await made.activate(A, timeout=300)
        assert answer.refusal is Refusal.LOAD_FAILED
        assert "died 2 times" in answer.reason
        assert made.server.loads == [A, A]
        assert made.report(A).failed
        await made.assign(spec(B))
        assert (await made.activate(B)).refusal is None


@in_virtual_time
async def test_the_innocent_that_load_beside_a_killer_are_not_blamed() -> None:
    async with world() as made:
        made.server.scripts.update({A: Script(seconds=1.0, crash=True), B: Script(seconds=2.0)})
        await made.assign(spec(A), spec(B))
        wishes = [made.wish(name, timeout=300) for name in (A, B)]
        guilty, innocent = await asyncio.gather(*wishes)
        assert guilty.refusal is Refusal.LOAD_FAILED
        assert innocent.refusal is None


@in_virtual_time
async def test_a_reload_that_kills_the_server_is_blamed_as_well() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.server.scripts[A] = Script(seconds=1.0, crash=True)
        await made.assign(spec(A, 2, fingerprint="2"))
        await _until(lambda: made.report(A).failed)
        assert made.server.loads == [A, A, A]


@in_virtual_time
async def test_new_content_clears_the_blame() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=1.0, crash=True)
        await made.assign(spec(A))
        await made.activate(A, timeout=300)
        made.server.scripts[A] = Script()
        await made.assign(spec(A, 2, fingerprint="2"))
        assert (await made.activate(A)).refusal is None


@in_virtual_time
async def test_a_hung_load_is_the_models_fault_and_keeps_its_bytes_until_the_process_is_dead() -> (
    None
):
    async with world(budget=MB, operations=LIMITS) as made:
        made.server.scripts[A] = Script(hang=True)
        await made.assign(spec(A))
        stopping = asyncio.Event()
        stop = made.server.stop

        async def slowly(*, grace: float) -> None:
            stopping.set()
            await asyncio.sleep(3)
            await stop(grace=grace)

        made.server.stop = slowly  # type: ignore[method-assign]  # a process that takes its time to die
        waiting = made.wish(A, timeout=100)
        await stopping.wait()
        assert made.actor.charged(ModelName(A)) == MB
        answer = await waiting
        assert answer.refusal is Refusal.LOAD_FAILED
        assert "did not end within 20 s" in answer.reason
        assert made.actor.charged(ModelName(A)) == 0
        await made.assign(spec(B))
        assert (await made.activate(B)).refusal is None


@in_virtual_time
async def test_a_server_that_goes_silent_during_a_load_is_ended() -> None:
    async with world() as made:
        _slow(made, B)
        await made.assign(spec(A))
        load, failed = made.server.load, []

        async def unreachable(model: object, *, timeout: float) -> None:
            made.server.load = load  # type: ignore[method-assign]  # once
            failed.append(model)
            raise ServerUnreachable("connection reset")

        made.server.load = unreachable  # type: ignore[method-assign]
        await made.assign(spec(B))
        assert (await made.activate(B)).refusal is None
        assert failed
        assert made.server.calls.count("start") == 2
        assert "stopped answering" in next(
            event.message for event in made.notices.events if event.reason == "ServerDied"
        )


@in_virtual_time
async def test_an_unload_that_does_not_end_ends_the_process() -> None:
    async with world(budget=MB, operations=LIMITS) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        made.server.unload_seconds = 60.0
        assert (await made.activate(B, timeout=60)).refusal is None
        assert made.server.calls.count("start") == 2
        assert made.state(A) is State.COLD


@in_virtual_time
async def test_a_suspect_request_to_a_dying_server_waits_for_the_next_one() -> None:
    async with world() as made:
        await made.assign(spec(A))
        presence = made.server.presence

        async def refused(name: str, *, timeout: float) -> Presence:
            raise ServerUnreachable("connection refused")

        # The process is dead, but nobody has been told yet.
        made.server.presence = refused  # type: ignore[method-assign]
        waiting = asyncio.create_task(made.activate(A, suspect=True))
        await asyncio.sleep(0.5)
        assert not waiting.done(), "granted to a server that refuses connections"
        made.server.presence = presence  # type: ignore[method-assign]
        made.server.crash()
        assert (await waiting).refusal is None
        assert made.server.loads == [A, A]


@in_virtual_time
async def test_absence_is_never_concluded_from_silence() -> None:
    async with world(operations=LIMITS) as made:
        await made.assign(spec(A))

        async def busy(name: str, *, timeout: float) -> Presence:
            await asyncio.sleep(timeout)
            raise ServerUnreachable("no answer")

        made.server.presence = busy  # type: ignore[method-assign]
        began = made.clock.now()
        assert (await made.activate(A, suspect=True)).refusal is None
        assert made.clock.now() - began == pytest.approx(LIMITS.verify)
        assert made.server.loads == [A]


@in_virtual_time
async def test_gateways_hear_of_the_death_and_of_the_new_process() -> None:
    async with world() as made:
        await made.assign(spec(A))
        follower = made.follow()
        made.heard(follower)
        made.server.start_failure = "not yet"
        made.server.crash()
        await settle()
        address, hot = made.heard(follower)
        assert (address.address.rest, address.address.epoch) == ("", 1)
        assert (hot.hot.reset, hot.hot.complete, list(hot.hot.models)) == (True, True, [])
        made.server.start_failure = ""
        await made.activate(A)
        address, hot = made.heard(follower)
        assert (address.address.rest, address.address.epoch) == (made.server.addresses.rest, 2)
        assert list(hot.hot.models) == [A]


@in_virtual_time
async def test_no_drain_waits_for_the_old_process() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        made.follow()
        waiting = made.wish(B)
        await settle()
        assert made.state(A) is State.DRAINING
        made.server.crash()
        assert (await waiting).refusal is None


@in_virtual_time
async def test_restarts_slow_down_while_the_server_cannot_start() -> None:
    async with world(server_up=False) as made:
        assert made.supervisor.phase is Phase.FAILED
        assert made.supervisor.message == "not yet"
        await asyncio.sleep(100)
        assert 5 < made.server.calls.count("start") < 10
        await made.assign(spec(A))
        waiting = made.wish(A, timeout=60)
        made.server.start_failure = ""
        assert (await waiting).refusal is None
        assert made.reporter.server().state == "ready"


@in_virtual_time
async def test_no_disk_space_for_the_servers_log_is_a_failed_start() -> None:
    async with world() as made:

        async def full(*, timeout: float) -> None:
            raise OSError(28, "No space left on device")

        start = made.server.start
        made.server.start = full  # type: ignore[method-assign]
        made.server.crash()
        await asyncio.sleep(5)
        assert made.supervisor.phase is Phase.FAILED
        assert "No space left" in made.supervisor.message
        made.server.start = start  # type: ignore[method-assign]
        await _until(lambda: made.server.pid is not None)


@in_virtual_time
async def test_only_the_first_early_death_is_forgiven() -> None:
    async with world() as made:
        waited = []
        for death in range(4):
            made.server.crash()
            began = made.clock.now()
            await _until(partial(_started, made, death + 2))
            waited.append(round(made.clock.now() - began, 1))
        assert waited == pytest.approx([0.0, 0.5, 1.0, 2.0], abs=0.2)


@in_virtual_time
async def test_a_process_that_lived_long_is_started_again_at_once() -> None:
    async with world() as made:
        await asyncio.sleep(60)
        made.server.crash()
        began = made.clock.now()
        await _until(lambda: made.server.calls.count("start") == 2)
        assert made.clock.now() - began < 0.5


@in_virtual_time
async def test_a_server_that_is_lost_has_words_instead_of_an_exit_code() -> None:
    async with world() as made:
        wait_exit = made.server.wait_exit

        async def lost() -> int:
            await wait_exit()
            raise ServerUnreachable("h:1 does not answer any more")

        made.server.wait_exit = lost  # type: ignore[method-assign]
        made.server.crash()
        await _until(lambda: _started(made, 2))
        made.server.crash()
        await _until(lambda: _started(made, 3))
        told = [each.message for each in made.notices.events if each.reason == "ServerDied"]
        assert told[-1] == "the inference server ended: h:1 does not answer any more"


@in_virtual_time
async def test_the_same_failed_start_is_told_once() -> None:
    async with world(server_up=False) as made:
        await asyncio.sleep(20)
        assert made.server.calls.count("start") > 2
        assert made.events().count("ServerStartFailed") == 1
        made.server.start_failure = "another reason"
        await asyncio.sleep(60)
        assert made.events().count("ServerStartFailed") == 2


@in_virtual_time
async def test_what_cannot_be_seen_is_not_reported_as_nothing() -> None:
    async with world(server_up=False) as made:
        made.probe.quick = lambda: None  # type: ignore[method-assign]
        made.server.start_failure = ""
        await _until(lambda: made.reporter.server().state == "ready")
        report = made.reporter.server()
        assert not report.HasField("base_bytes")
        assert not report.HasField("process_bytes")
