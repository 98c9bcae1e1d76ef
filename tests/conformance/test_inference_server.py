"""What every inference server behind `InferenceServer` keeps, the fake and the real ones alike."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.protocol import (
    InferenceServer,
    ModelRejected,
    PreparedModel,
    Presence,
    ServerUnreachable,
)
from overbook.agent.servers.triton import stubs
from tests.conformance.scripted import scripted_model
from tests.fakes.fake_server import FakeServer, Script
from tests.integration import mlserver_harness, own_doors, triton_harness

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 20.0
PROCESS = 40_000_000


@dataclass(frozen=True)
class Subject:
    """A running server and how a test looks behind it.

    ``isolated``: each model has a process of its own. ``kill_model`` ends that of one model.
    """

    server: InferenceServer
    answer: Callable[[str], Coroutine[None, None, int]]
    kill: Callable[[], None]
    isolated: bool = False
    kill_model: Callable[[str], None] | None = None


def fake() -> Subject:
    server = FakeServer(counts_requests=True)
    return Subject(server, server.answer, lambda: server.crash(-9))


def isolated_fake() -> Subject:
    server = FakeServer(isolated=True)
    return Subject(server, server.answer, lambda: server.crash(-9), True, server.lose)


def mlserver(state: Path) -> Subject:
    server = mlserver_harness.server(state)
    return Subject(server, asker(server), lambda: kill_process(server))


def triton(state: Path) -> Subject:
    # Triton starts stubs through a shell: a path with a space must not matter.
    server = triton_harness.server(state / "a replica")

    def kill_model(name: str) -> None:
        assert server.pid is not None
        stubs.kill(stubs.find(server.pid, "models", name))

    return Subject(server, asker(server), lambda: kill_process(server), True, kill_model)


def asker(server: InferenceServer) -> Callable[[str], Coroutine[None, None, int]]:
    async def answer(name: str) -> int:
        tensor = {"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}
        where = server.addresses.infer or server.addresses.rest
        async with own_doors.http_client(where) as client:
            reply = await client.post(
                f"/v2/models/{name}/infer", json={"inputs": [tensor]}, timeout=CALL
            )
        assert reply.status_code == 200, reply.text
        return int(reply.json()["outputs"][0]["data"][0])

    return answer


def kill_process(server: InferenceServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["fake", "isolated fake", "mlserver", "triton"]
)
async def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Subject]:
    made: dict[str, Callable[[Path], Subject]] = {
        "fake": lambda _: fake(),
        "isolated fake": lambda _: isolated_fake(),
        "mlserver": mlserver,
        "triton": triton,
    }
    subject = made[request.param](tmp_path_factory.mktemp("server"))
    await subject.server.start(timeout=60)
    yield subject
    await subject.server.stop(grace=10)
    await subject.server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def subject(running: Subject) -> AsyncIterator[Subject]:
    if running.server.pid is None:
        await running.server.start(timeout=60)
    yield running
    if running.server.pid is not None:
        for name in await running.server.index(timeout=CALL):
            await running.server.unload(name, timeout=CALL)
    with contextlib.suppress(TimeoutError):
        while True:  # what this test killed is nothing to the next one
            await asyncio.wait_for(running.server.wait_lost(), 0.01)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + CALL
    while not await condition():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.01)


async def test_load_makes_ready(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT
    await server.load(scripted_model(tmp_path, "a", Script(answer=5)), timeout=CALL)
    assert await server.presence("a", timeout=CALL) is Presence.READY
    assert dict(await server.index(timeout=CALL)) == {"a": Presence.READY}
    assert await subject.answer("a") == 5


async def test_models_that_ship_the_same_module_stay_apart(
    subject: Subject, tmp_path: Path
) -> None:
    for number in range(3):
        model = scripted_model(tmp_path, f"m{number}", Script(answer=number))
        await subject.server.load(model, timeout=CALL)
    assert [await subject.answer(f"m{number}") for number in range(3)] == [0, 1, 2]


async def test_reload_in_place_swaps(subject: Subject, tmp_path: Path) -> None:
    await subject.server.load(scripted_model(tmp_path, "a", Script(answer=1)), timeout=CALL)
    newer = scripted_model(tmp_path, "a", Script(answer=2), generation=2)
    await subject.server.load(newer, timeout=CALL)
    assert await subject.answer("a") == 2
    assert dict(await subject.server.index(timeout=CALL)) == {"a": Presence.READY}


async def test_failing_reload_keeps_the_old(subject: Subject, tmp_path: Path) -> None:
    await subject.server.load(scripted_model(tmp_path, "a", Script(answer=1)), timeout=CALL)
    broken = scripted_model(tmp_path, "a", Script(fail="weights are bad"), generation=2)
    with pytest.raises(ModelRejected, match="weights are bad"):
        await subject.server.load(broken, timeout=CALL)
    assert await subject.server.presence("a", timeout=CALL) is Presence.READY
    assert await subject.answer("a") == 1


async def test_failing_load_leaves_nothing(subject: Subject, tmp_path: Path) -> None:
    broken = scripted_model(tmp_path, "a", Script(fail="weights are bad"))
    with pytest.raises(ModelRejected, match="weights are bad") as raised:
        await subject.server.load(broken, timeout=CALL)
    assert "\n" not in str(raised.value)
    assert await subject.server.presence("a", timeout=CALL) is Presence.ABSENT
    assert dict(await subject.server.index(timeout=CALL)) == {}
    await subject.server.load(scripted_model(tmp_path, "a", Script(answer=3), 2), timeout=CALL)
    assert await subject.answer("a") == 3


async def test_unload_is_idempotent(subject: Subject, tmp_path: Path) -> None:
    await subject.server.load(scripted_model(tmp_path, "a", Script()), timeout=CALL)
    await subject.server.unload("a", timeout=CALL)
    await subject.server.unload("a", timeout=CALL)
    await subject.server.unload("never-seen", timeout=CALL)
    assert await subject.server.presence("a", timeout=CALL) is Presence.ABSENT


async def test_unknown_names(subject: Subject, tmp_path: Path) -> None:
    assert await subject.server.presence("nobody", timeout=CALL) is Presence.ABSENT
    with pytest.raises(ModelRejected, match="nobody"):
        await subject.server.metadata("nobody", timeout=CALL)
    with pytest.raises(ModelRejected, match="does not exist"):
        await subject.server.validate(PreparedModel("nobody", 1, tmp_path / "nowhere"))


async def test_others_are_served_while_one_loads_slowly(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "hot", Script(answer=1)), timeout=CALL)
    slow = scripted_model(tmp_path, "slow", Script(answer=2, seconds=0.5))
    loading = asyncio.create_task(server.load(slow, timeout=CALL))

    async def is_loading() -> bool:
        return await server.presence("slow", timeout=CALL) is Presence.LOADING

    await until(is_loading, "slow is loading")
    assert await subject.answer("hot") == 1
    await server.load(scripted_model(tmp_path, "quick", Script(answer=3)), timeout=CALL)
    assert not loading.done()
    assert await server.live(timeout=CALL)
    await loading
    assert await subject.answer("slow") == 2


async def test_hung_load_meets_its_deadline(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    hung = scripted_model(tmp_path, "a", Script(hang=True))
    with pytest.raises(ServerUnreachable, match=r"0\.3 s"):
        await server.load(hung, timeout=0.3)

    async def is_gone() -> bool:
        return await server.presence("a", timeout=CALL) is Presence.ABSENT

    await until(is_gone, "the hung load is forgotten")
    await server.load(scripted_model(tmp_path, "a", Script(answer=4), 2), timeout=CALL)
    assert await subject.answer("a") == 4


async def test_requests_in_flight_end_well_although_their_model_is_unloaded(
    subject: Subject, tmp_path: Path
) -> None:
    model = scripted_model(tmp_path, "a", Script(answer=6, thinks=0.5))
    await subject.server.load(model, timeout=CALL)
    asked = asyncio.create_task(subject.answer("a"))
    await asyncio.sleep(0.2)
    assert not asked.done()
    await subject.server.unload("a", timeout=CALL)
    assert await asked == 6
    assert await subject.server.presence("a", timeout=CALL) is Presence.ABSENT


async def test_the_old_one_serves_while_a_reload_runs(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "a", Script(answer=1)), timeout=CALL)
    slow = scripted_model(tmp_path, "a", Script(answer=2, seconds=0.7), generation=2)
    reload = asyncio.create_task(server.load(slow, timeout=CALL))
    await asyncio.sleep(0.3)
    assert await subject.answer("a") == 1
    assert await server.presence("a", timeout=CALL) is Presence.READY
    assert not reload.done()
    await reload
    assert await subject.answer("a") == 2


async def test_the_death_of_one_models_process_is_told_and_heals(
    subject: Subject, tmp_path: Path
) -> None:
    if subject.kill_model is None:
        pytest.skip("models share one process")
    server = subject.server
    model = scripted_model(tmp_path, "a", Script(answer=1))
    await server.load(model, timeout=CALL)
    await server.load(scripted_model(tmp_path, "other", Script(answer=2)), timeout=CALL)
    lost = asyncio.create_task(server.wait_lost())
    subject.kill_model("a")
    assert await asyncio.wait_for(lost, CALL) == "a"
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT
    assert await subject.answer("other") == 2
    await server.load(model, timeout=CALL)
    assert await subject.answer("a") == 1
    assert dict(await server.index(timeout=CALL)) == {
        "a": Presence.READY,
        "other": Presence.READY,
    }


async def test_a_request_that_never_ends_does_not_hold_up_an_unload_for_ever(
    subject: Subject, tmp_path: Path
) -> None:
    if not subject.isolated:
        pytest.skip("models share one process")
    server = subject.server
    model = scripted_model(tmp_path, "a", Script(answer=1, thinks=3600.0))
    await server.load(model, timeout=CALL)
    asked = asyncio.create_task(subject.answer("a"))
    await asyncio.sleep(0.2)
    await server.unload("a", timeout=3.0)
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT
    await server.load(scripted_model(tmp_path, "a", Script(answer=2), 2), timeout=CALL)
    assert await subject.answer("a") == 2
    asked.cancel()


async def test_an_idle_model_is_unloaded_at_once(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "warm-up", Script()), timeout=CALL)
    await server.load(scripted_model(tmp_path, "a", Script(answer=1)), timeout=CALL)
    began = time.monotonic()
    await server.unload("a", timeout=CALL, idle=True)
    assert time.monotonic() - began < 0.9
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT


async def test_a_model_that_died_and_was_leaving_can_be_unloaded(
    subject: Subject, tmp_path: Path
) -> None:
    if subject.kill_model is None:
        pytest.skip("models share one process")
    server = subject.server
    await server.load(scripted_model(tmp_path, "a", Script(thinks=0.5)), timeout=CALL)
    asked = asyncio.create_task(subject.answer("a"))
    await asyncio.sleep(0.2)
    subject.kill_model("a")
    await server.unload("a", timeout=5.0)
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT
    await asyncio.wait({asked})
    asked.cancelled() or asked.exception()
    assert await server.live(timeout=CALL)


async def test_nothing_is_told_as_lost_that_was_meant_to_end(
    subject: Subject, tmp_path: Path
) -> None:
    server = subject.server
    lost = asyncio.create_task(server.wait_lost())
    await server.load(scripted_model(tmp_path, "a", Script(answer=1)), timeout=CALL)
    await server.load(scripted_model(tmp_path, "a", Script(answer=2), 2), timeout=CALL)
    with pytest.raises(ModelRejected):
        await server.load(scripted_model(tmp_path, "a", Script(fail="no"), 3), timeout=CALL)
    await server.unload("a", timeout=CALL)
    assert not lost.done()
    lost.cancel()


async def test_a_crash_during_load_is_the_models_alone_where_it_has_a_process_of_its_own(
    subject: Subject, tmp_path: Path
) -> None:
    if not subject.isolated:
        pytest.skip("models share one process")
    server = subject.server
    await server.load(scripted_model(tmp_path, "other", Script(answer=2)), timeout=CALL)
    with pytest.raises(ModelRejected, match="its process died while it loaded"):
        await server.load(scripted_model(tmp_path, "a", Script(crash=True)), timeout=CALL)
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT
    assert await subject.answer("other") == 2


async def test_a_hung_load_is_the_models_alone_where_it_has_a_process_of_its_own(
    subject: Subject, tmp_path: Path
) -> None:
    if not subject.isolated:
        pytest.skip("models share one process")
    server = subject.server
    await server.load(scripted_model(tmp_path, "other", Script(answer=2)), timeout=CALL)
    with pytest.raises(ModelRejected, match="did not end within"):
        await server.load(scripted_model(tmp_path, "a", Script(hang=True)), timeout=6.0)
    assert await server.presence("a", timeout=CALL) is Presence.ABSENT
    assert await subject.answer("other") == 2


async def test_crash_during_load(subject: Subject, tmp_path: Path) -> None:
    if subject.isolated:
        pytest.skip("it is the model's alone")
    server = subject.server
    with pytest.raises(ServerUnreachable):
        await server.load(scripted_model(tmp_path, "a", Script(crash=True)), timeout=CALL)
    assert await asyncio.wait_for(server.wait_exit(), CALL) == 7
    assert server.pid is None
    assert not await server.live(timeout=CALL)
    with pytest.raises(ServerUnreachable):
        await server.index(timeout=CALL)


async def test_crash_while_serving_then_start_again(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "a", Script()), timeout=CALL)
    before = server.addresses
    ended = asyncio.create_task(server.wait_exit())
    subject.kill()
    assert await asyncio.wait_for(ended, CALL) == -signal.SIGKILL
    assert server.pid is None
    await server.start(timeout=60)
    assert server.addresses == before
    assert dict(await server.index(timeout=CALL)) == {}
    await server.load(scripted_model(tmp_path, "a", Script(answer=8)), timeout=CALL)
    assert await subject.answer("a") == 8


async def test_metadata_is_what_the_files_told(subject: Subject, tmp_path: Path) -> None:
    model = scripted_model(tmp_path, "a", Script())
    told = await subject.server.static_metadata(model)
    await subject.server.load(model, timeout=CALL)
    assert dict(await subject.server.metadata("a", timeout=CALL)) == dict(told)
    assert told["name"] == "a"


async def test_memory_comes_and_goes(subject: Subject, tmp_path: Path) -> None:
    size = 40_000_000
    await subject.server.load(scripted_model(tmp_path, "small", Script(size=1)), timeout=CALL)
    before = await subject.server.memory()
    await subject.server.load(scripted_model(tmp_path, "a", Script(size=size)), timeout=CALL)
    loaded = await subject.server.memory()
    alone = await subject.server.model_memory("a")
    await subject.server.unload("a", timeout=CALL)
    after = await subject.server.memory()
    assert before.processes >= 1
    # Where each model has a process of its own, that takes something too, and is counted with it.
    taken = size if alone is None else alone.bytes
    assert size <= taken < size + PROCESS
    assert loaded.bytes - before.bytes == pytest.approx(taken, rel=0.1)
    assert loaded.bytes - after.bytes == pytest.approx(taken, rel=0.1)


async def test_a_failed_load_gives_its_memory_back(subject: Subject, tmp_path: Path) -> None:
    size = 40_000_000
    script = Script(size=size, fail="no")
    with pytest.raises(ModelRejected):
        await subject.server.load(scripted_model(tmp_path, "a", script), timeout=CALL)
    before = await subject.server.memory()
    for generation in range(2, 5):
        model = scripted_model(tmp_path, "a", script, generation)
        with pytest.raises(ModelRejected):
            await subject.server.load(model, timeout=CALL)
    after = await subject.server.memory()
    assert after.bytes - before.bytes < size / 4


async def test_a_server_that_counts_says_when_a_models_last_request_has_ended(
    subject: Subject, tmp_path: Path
) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "a", Script(answer=5, thinks=0.5)), timeout=CALL)
    await server.settle("a", {}, timeout=CALL)
    asking = asyncio.create_task(subject.answer("a"))
    await asyncio.sleep(0.2)
    await server.settle("other", {}, timeout=CALL)
    assert not asking.done()
    await server.settle("a", {}, timeout=CALL)
    if server.counts_requests:
        # The answer may still be on its way to us.
        assert await asyncio.wait_for(asking, 0.2) == 5
    assert await asking == 5


async def test_what_was_let_through_and_never_arrives_is_forgiven_once(subject: Subject) -> None:
    server, took = subject.server, []
    for passed in ({"gw.1": 2}, {"gw.1": 2}, {"gw.1": 3}):
        began = time.monotonic()
        await server.settle("a", passed, timeout=CALL)
        took.append(time.monotonic() - began > 0.5)
    assert took == ([True, False, True] if server.counts_requests else [False] * 3)


async def test_a_server_that_counts_says_when_a_model_in_use_is_idle(
    subject: Subject, tmp_path: Path
) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "a", Script(answer=5, thinks=0.8)), timeout=CALL)
    assert await server.idle("a", {}, timeout=CALL) is server.counts_requests
    asking = asyncio.create_task(subject.answer("a"))
    await asyncio.sleep(0.2)
    assert await server.idle("other", {}, timeout=CALL) is server.counts_requests
    assert not await server.idle("a", {}, timeout=0.1)
    assert not asking.done()
    assert await server.idle("a", {}, timeout=CALL) is server.counts_requests
    if server.counts_requests:
        # The answer may still be on its way to us.
        assert await asyncio.wait_for(asking, 0.2) == 5
    assert await asking == 5


async def test_what_was_let_through_and_has_not_arrived_is_never_forgiven_by_looking(
    subject: Subject,
) -> None:
    for _ in range(2):
        assert not await subject.server.idle("a", {"gw.3": 1}, timeout=0.1)
    await subject.server.settle("a", {"gw.3": 1}, timeout=CALL)
    counts = subject.server.counts_requests
    assert await subject.server.idle("a", {"gw.3": 1}, timeout=0.1) is counts


async def test_waiting_for_requests_can_be_given_up(subject: Subject, tmp_path: Path) -> None:
    server = subject.server
    await server.load(scripted_model(tmp_path, "a", Script(answer=5, thinks=1.0)), timeout=CALL)
    asking = asyncio.create_task(subject.answer("a"))
    await asyncio.sleep(0.2)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.settle("a", {"gw.1": 1}, timeout=CALL), 0.1)
    assert await asking == 5
    await server.settle("a", {}, timeout=CALL)


async def test_a_configuration_is_told_over_both_protocols_or_not_at_all(
    subject: Subject, tmp_path: Path
) -> None:
    has_none = isinstance(subject.server, MlserverServer)
    if not has_none:
        with pytest.raises(ModelRejected, match="nobody"):
            await subject.server.configuration("nobody", timeout=CALL)
    await subject.server.load(scripted_model(tmp_path, "a", Script()), timeout=CALL)
    found = await subject.server.configuration("a", timeout=CALL)
    assert (found is None) == has_none
    if found is not None:
        assert json.loads(found.json)["name"] == "a"
        assert b"a" in found.message
