"""Updates that fail: what was loaded last is what is registered, also after an eviction and a restart of the agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

from overbook.agent.proven import Proven
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import State
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import A, World, spec, world


async def _evict(made: World) -> None:
    made.actor.evict(ModelName(A))
    await settle()
    assert made.state(A) is State.COLD


def _sync(made: World, *specs: pb.AssignedModel) -> None:
    made.assignments.update(pb.AssignmentUpdate(reset=True, assigned=specs, complete=True))


@in_virtual_time
async def test_an_eviction_brings_back_what_was_loaded_last() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.server.broken["a-2"] = "bad pickle"
        await made.assign(spec(A, 2, fingerprint="2"))
        await _evict(made)
        report = made.report(A)
        assert (report.failed, report.available, report.serving_generation) == (True, False, 1)
        assert (await made.activate(A)).refusal is None
        assert made.server.loaded_from[-1].artifact.name == "a-1"
        report = made.report(A)
        assert (report.state, report.failed, report.last_error) == (
            common.RESIDENT,
            True,
            "bad pickle",
        )


@in_virtual_time
async def test_its_files_stay_until_the_new_content_was_loaded() -> None:
    async with world() as made:
        _sync(made, spec(A))
        await settle()
        made.server.broken["a-2"] = "bad pickle"
        await made.assign(spec(A, 2, fingerprint="2"))
        await _evict(made)
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-1", "a-2"}
        made.server.broken.clear()
        await made.assign(spec(A, 3, fingerprint="3"))
        assert (await made.activate(A)).refusal is None
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-3"}
        assert made.report(A).serving_generation == 3


@in_virtual_time
async def test_a_cold_model_whose_new_content_fails_answers_with_the_old_one() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await _evict(made)
        made.server.broken["a-2"] = "bad pickle"
        await made.assign(spec(A, 2, fingerprint="2"))
        assert (await made.activate(A)).refusal is None
        assert made.server.loaded_from[-1].artifact.name == "a-1"


@in_virtual_time
async def test_an_agent_that_begins_anew_knows_what_was_loaded_last(tmp_path: Path) -> None:
    path = tmp_path / "proven.db"
    async with world(proven=Proven(path)) as made:
        await made.assign(spec(A))
        made.proven.close()
    async with world(proven=Proven(path)) as made:
        made.server.broken["a-2"] = "bad pickle"
        _sync(made, spec(A, 2, fingerprint="2"))
        await settle()
        assert (await made.activate(A)).refusal is None
        assert [each.artifact.name for each in made.server.loaded_from] == ["a-1", "a-2"]
        report = made.report(A)
        assert (report.failed, report.last_error) == (True, "bad pickle")
        assert (report.generation, report.serving_generation) == (2, 1)
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-1", "a-2"}


@in_virtual_time
async def test_an_agent_that_begins_anew_serves_although_the_new_files_cannot_be_fetched(
    tmp_path: Path,
) -> None:
    path = tmp_path / "proven.db"
    async with world(proven=Proven(path)) as made:
        await made.assign(spec(A))
        made.proven.close()
    async with world(proven=Proven(path)) as made:
        made.cache.failures["/new"] = "/new does not exist"
        _sync(made, spec(A, 2, uri="/new"))
        await settle()
        assert (await made.activate(A)).refusal is None
        report = made.report(A)
        assert (report.failed, report.available, report.last_error) == (
            True,
            False,
            "/new does not exist",
        )
        assert report.serving_generation == 1


@in_virtual_time
async def test_what_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "proven.db"
    async with world(proven=Proven(path)) as made:
        await made.assign(spec(A))
        await made.revoke(A)
        made.proven.close()
    async with world(proven=Proven(path)) as made:
        made.server.broken["a-2"] = "bad pickle"
        _sync(made, spec(A, 2, fingerprint="2"))
        await settle()
        assert (await made.activate(A)).refusal is Refusal.LOAD_FAILED


@in_virtual_time
async def test_what_was_deleted_while_it_was_loaded_answers_nobody_who_asks_for_what_came_after() -> (
    None
):
    async with world() as made:
        made.server.scripts[A] = Script(seconds=5.0)
        await made.assign(spec(A, 3))
        assert made.state(A) is State.LOADING
        await made.revoke(A)
        await made.assign(spec(A, 1, fingerprint="2"))
        assert (await made.activate(A)).refusal is None
        assert made.server.calls[-3:] == ["load a", "unload a", "load a"]
        assert made.server.loaded_from[-1].artifact.name == "a-2"
        assert made.report(A).available


@in_virtual_time
async def test_what_was_deleted_while_it_was_reloaded_loses_its_route_and_answers_nobody() -> None:
    async with world() as made:
        await made.assign(spec(A))
        gateway = made.follow()
        made.server.scripts[A] = Script(seconds=5.0)
        await made.assign(spec(A, 2, fingerprint="2"))
        assert made.state(A) is State.RELOADING
        await made.revoke(A)
        made.actor.followers.withdrawn(gateway, ModelName(A), made.withdrawal(gateway))
        await made.assign(spec(A, 1, fingerprint="3"))
        waiting = made.wish(A)
        await asyncio.sleep(6)
        assert not waiting.done()
        made.actor.followers.withdrawn(gateway, ModelName(A), made.withdrawal(gateway))
        assert (await waiting).refusal is None
        assert [each.artifact.name for each in made.server.loaded_from] == ["a-1", "a-2", "a-3"]
        hot = [model for told in made.heard(gateway) for model in told.hot.models]
        assert hot == [A]


@in_virtual_time
async def test_nobody_is_told_the_metadata_of_what_was_deleted() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.follow()
        await made.revoke(A)
        made.cache.seconds["/a"] = 5.0
        await made.assign(spec(A, 2, fingerprint="2"))
        assert made.state(A) is State.DRAINING
        assert await made.assignments.metadata(ModelName(A)) is None
        await asyncio.sleep(6)
        assert await made.assignments.metadata(ModelName(A)) is not None


@in_virtual_time
async def test_a_copy_that_was_replaced_and_refused_once_is_not_looked_for_where_it_was() -> None:
    async with world(server_up=False) as made:
        await made.assign(spec(A))
        made.cache.damaged.add("a-1")
        made.cache.digests["/a"] = "changed"
        made.server.broken["changed"] = "not yet"
        made.server.start_failure = ""
        assert (await made.activate(A)).refusal is Refusal.LOAD_FAILED
        made.server.broken.clear()
        await made.assign(spec(A, 1, memory=2_000_000))
        assert (await made.activate(A)).refusal is None
        assert made.server.loaded_from[-1].artifact.name == "changed"
