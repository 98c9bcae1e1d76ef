"""Assignments: fetched once, registered when here, told apart by content, forgotten only when nothing is left."""

from __future__ import annotations

import asyncio

import pytest

from overbook.artifacts.address import Asked
from overbook.artifacts.errors import SourceError, Trouble
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.states import State
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, C, World, spec, world


def _sync(made: World, *specs: pb.AssignedModel) -> None:
    made.assignments.update(pb.AssignmentUpdate(reset=True, assigned=specs, complete=True))


def _loaded(made: World) -> list[str]:
    """The artifacts given to the server, in order."""
    return [model.artifact.name for model in made.server.loaded_from]


# -- full syncs


@in_virtual_time
async def test_what_a_full_sync_does_not_name_is_revoked_at_its_end() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B))
        update = pb.AssignmentUpdate
        made.assignments.update(update(reset=True, assigned=[spec(A)]))
        await settle()
        assert set(made.assignments.assigned) == {A, B}
        made.assignments.update(update(assigned=[spec(C)], complete=True))
        await settle()
        assert set(made.assignments.assigned) == {A, C}
        assert made.state(B) is None
        assert made.notices.gone == {B}


@in_virtual_time
async def test_a_sync_that_broke_off_revokes_nothing() -> None:
    async with world() as made:
        await made.assign(spec(A), spec(B))
        made.assignments.update(pb.AssignmentUpdate(reset=True, assigned=[spec(C)]))
        await settle()  # here the session ends; the next one begins anew
        _sync(made, spec(A), spec(B))
        await settle()
        assert set(made.assignments.assigned) == {A, B}


@in_virtual_time
async def test_a_reconnect_that_repeats_what_is_known_changes_nothing() -> None:
    async with world() as made:
        await made.assign(spec(A))
        _sync(made, spec(A))
        await settle()
        assert made.cache.brought == ["/a"]
        assert made.server.loads == [A]


# -- fetching


@in_virtual_time
async def test_a_request_waits_for_the_artifact_and_then_for_the_load() -> None:
    async with world() as made:
        made.cache.seconds["/a"] = 3.0
        made.server.scripts[A] = Script(seconds=2.0)
        await made.assign(spec(A))
        answer = await made.activate(A)
        assert answer.refusal is None
        assert answer.waited == pytest.approx(5.0)
        assert answer.load == pytest.approx(2.0)


@in_virtual_time
async def test_an_artifact_that_takes_too_long_is_a_deadline() -> None:
    async with world() as made:
        made.cache.seconds["/a"] = 60.0
        await made.assign(spec(A))
        assert (await made.activate(A, timeout=5)).refusal is Refusal.DEADLINE
        await asyncio.sleep(60)
        assert (await made.activate(A)).refusal is None


@in_virtual_time
async def test_a_failed_fetch_is_told_at_once_and_tried_again_with_backoff() -> None:
    async with world() as made:
        made.cache.failures["/a"] = "/a does not exist"
        await made.assign(spec(A))
        answer = await made.activate(A)
        assert (answer.refusal, answer.reason) == (Refusal.LOAD_FAILED, "/a does not exist")
        report = made.report(A)
        assert (report.state, report.failed, report.available) == (common.FAILED, True, False)
        assert report.last_error == "/a does not exist"
        del made.cache.failures["/a"]
        await asyncio.sleep(2.5)
        assert (await made.activate(A)).refusal is None
        assert not made.report(A).failed


@in_virtual_time
async def test_an_artifact_that_stays_away_is_one_event_not_one_a_minute() -> None:
    async with world() as made:
        made.cache.failures["/a"] = "away"
        await made.assign(spec(A))
        await asyncio.sleep(600)
        assert made.events().count("ArtifactFailed") == 1


@in_virtual_time
async def test_a_change_tries_at_once() -> None:
    async with world() as made:
        made.cache.failures["/a"] = "away"
        await made.assign(spec(A))
        await asyncio.sleep(600)
        began = made.clock.now()
        await made.assign(spec(A, 2, uri="/b"))
        assert (await made.activate(A)).refusal is None
        assert made.clock.now() == began


@in_virtual_time
async def test_another_secret_tries_what_failed_at_once_and_fetches_nothing_that_is_here() -> None:
    async with world() as made:
        made.cache.failures["/a"] = "not allowed"
        await made.assign(spec(A), spec(B))
        await asyncio.sleep(600)
        del made.cache.failures["/a"]
        began = made.clock.now()
        changed = [spec(each, 2) for each in (A, B)]
        for each in changed:
            each.secret = "other"
        await made.assign(*changed)
        assert (await made.activate(A)).refusal is None
        assert made.clock.now() == began
        assert made.cache.brought == ["/b", "/a"]


@in_virtual_time
async def test_a_secret_that_is_another_now_tries_what_failed_for_it_and_nothing_else() -> None:
    async with world() as made:
        made.cache.failures |= {"/a": "not allowed", "/c": "not allowed"}
        told = [spec(A), spec(B), spec(C)]
        for each, secret in zip(told, ("minio", "minio", "other"), strict=True):
            each.secret = secret
        await made.assign(*told)
        await asyncio.sleep(600)
        made.cache.failures.clear()
        made.assignments.another_try.secrets_changed({"minio", "new"})
        await settle()
        assert made.cache.brought == ["/b", "/a"]


@in_virtual_time
async def test_a_source_that_has_again_what_it_had_not_is_asked_at_once() -> None:
    async with world() as made:
        gone = SourceError(Trouble.NOT_FOUND, "nothing is there")
        made.cache.troubles |= {"/a": gone, "/c": gone}
        await made.assign(spec(A), spec(B), spec(C))
        await asyncio.sleep(500)
        made.cache.troubles.clear()
        made.assignments.another_try.source_answered(Asked("/a"))
        await settle()
        assert made.cache.brought == ["/b", "/a"]


@in_virtual_time
async def test_an_artifact_of_the_wrong_kind_fails_before_any_request() -> None:
    async with world() as made:
        made.server.invalid["a-1"] = "no file that the server can load; found model.onnx"
        await made.assign(spec(A))
        assert "model.onnx" in made.report(A).last_error
        assert made.server.loads == []


@in_virtual_time
async def test_a_new_size_does_not_begin_a_running_fetch_anew() -> None:
    async with world() as made:
        made.cache.seconds["/a"] = 10.0
        await made.assign(spec(A))
        await asyncio.sleep(9)
        await made.assign(spec(A, 2, memory=2 * MB))
        await asyncio.sleep(2)
        assert made.state(A) is State.RESIDENT
        assert made.actor.charged(ModelName(A)) == 2 * MB


# -- updates


@in_virtual_time
async def test_size_pin_and_priority_change_without_fetch_and_load() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await made.assign(spec(A, 2, memory=2 * MB, pinned=True, keep_alive=60.0))
        entry = made.actor.entries[ModelName(A)]
        assert (entry.size, entry.pinned, entry.keep_alive) == (2 * MB, True, 60.0)
        assert made.cache.brought == ["/a"]
        assert made.server.loads == [A]
        report = made.report(A)
        assert (report.generation, report.available) == (2, True)


@in_virtual_time
async def test_new_files_are_loaded_in_place_and_available_only_then() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.cache.seconds["/a"] = 3.0
        made.server.scripts[A] = Script(seconds=2.0)
        await made.assign(spec(A, 2, fingerprint="2"))
        assert (await made.activate(A)).waited == 0, "the old one serves meanwhile"
        for _ in range(4):
            assert not made.report(A).available
            assert made.report(A).serving_generation == 1
            await asyncio.sleep(1)
        await asyncio.sleep(1.1)
        assert made.report(A).available
        assert made.report(A).serving_generation == 2
        assert _loaded(made) == ["a-1", "a-2"]


@in_virtual_time
async def test_another_address_with_the_same_bytes_loads_nothing() -> None:
    async with world() as made:
        made.cache.digests.update({"/a": "same", "/elsewhere": "same"})
        await made.assign(spec(A))
        await made.assign(spec(A, 2, uri="/elsewhere"))
        assert made.report(A).available
        assert made.server.loads == [A]


@in_virtual_time
async def test_another_version_folder_of_the_same_artifact_is_another_content() -> None:
    async with world() as made:
        made.cache.digests["/a"] = "same"
        await made.assign(spec(A, version="1"))
        await made.assign(spec(A, 2, version="2"))
        assert [model.version for model in made.server.loaded_from] == ["1", "2"]


@in_virtual_time
async def test_an_update_that_cannot_be_fetched_leaves_the_old_one_serving() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.cache.failures["/new"] = "/new does not exist"
        await made.assign(spec(A, 2, uri="/new"))
        assert (await made.activate(A)).refusal is None
        report = made.report(A)
        assert report.state == common.RESIDENT
        assert (report.failed, report.available) == (True, False)
        assert (report.generation, report.serving_generation) == (2, 1)
        assert report.last_error == "/new does not exist"


@in_virtual_time
async def test_an_update_that_cannot_be_loaded_leaves_the_old_one_serving() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.server.scripts[A] = Script(fail="bad pickle")
        await made.assign(spec(A, 2, fingerprint="2"))
        assert (await made.activate(A)).refusal is None
        report = made.report(A)
        assert (report.failed, report.available, report.serving_generation) == (True, False, 1)
        assert report.last_error == "bad pickle"


@in_virtual_time
async def test_a_failure_lasts_while_the_next_try_is_under_way() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=1.0, fail="bad pickle")
        await made.assign(spec(A))
        seen = set()
        for _ in range(100):
            await asyncio.sleep(0.1)
            report = made.report(A)
            seen.add(report.state)
            if made.server.loads.count(A) > 1:
                assert (report.failed, report.available) == (True, False)
        assert {common.LOADING, common.FAILED} <= seen


@in_virtual_time
async def test_new_files_on_their_way_are_not_blamed_for_the_old_ones() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail="bad pickle")
        await made.assign(spec(A))
        assert made.report(A).failed
        made.cache.seconds["/a"] = 3.0
        await made.assign(spec(A, 2, fingerprint="2"))
        report = made.report(A)
        assert (report.generation, report.failed, report.available) == (2, False, False)
        made.server.scripts[A] = Script()
        await asyncio.sleep(4)
        assert made.report(A).available


@in_virtual_time
async def test_a_size_that_changes_while_new_files_come_does_not_make_the_old_ones_new() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.cache.seconds["/new"] = 5.0
        await made.assign(spec(A, 2, uri="/new"))
        await asyncio.sleep(1)
        await made.assign(spec(A, 3, uri="/new", memory=2 * MB))
        assert not made.report(A).available
        assert _loaded(made) == ["a-1"]
        await asyncio.sleep(5)
        assert _loaded(made) == ["a-1", "new-1"]
        assert made.report(A).available


@in_virtual_time
async def test_back_to_the_old_files_before_the_new_ones_came() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.cache.seconds["/new"] = 5.0
        await made.assign(spec(A, 2, uri="/new"))
        await made.assign(spec(A, 3))
        await asyncio.sleep(10)
        assert made.report(A).available
        assert _loaded(made) == ["a-1"]


@in_virtual_time
async def test_a_scheduler_that_counts_from_one_again_is_understood() -> None:
    async with world() as made:
        await made.assign(spec(A, 7))
        await made.assign(spec(A, 1, fingerprint="2"))
        assert made.report(A).available
        assert _loaded(made) == ["a-1", "a-2"]


@in_virtual_time
async def test_any_change_of_the_manifest_retries_a_failed_load_at_once() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail="library missing")
        await made.assign(spec(A))
        assert (await made.activate(A)).refusal is Refusal.LOAD_FAILED
        made.server.scripts[A] = Script()
        await made.assign(spec(A, 2, memory=2 * MB))
        assert (await made.activate(A)).refusal is None


@in_virtual_time
async def test_the_same_bytes_applied_again_retry_a_failed_load_at_once() -> None:
    async with world() as made:
        made.cache.digests["/a"] = "same"
        made.server.scripts[A] = Script(fail="library missing")
        await made.assign(spec(A))
        made.server.scripts[A] = Script()
        await made.assign(spec(A, 2, fingerprint="touched"))
        assert (await made.activate(A)).refusal is None


# -- leaving and coming back


@in_virtual_time
async def test_revoked_while_it_is_fetched() -> None:
    async with world() as made:
        made.cache.seconds["/a"] = 5.0
        await made.assign(spec(A))
        waiting = made.wish(A)
        await settle()
        await made.revoke(A)
        assert (await waiting).refusal is Refusal.UNKNOWN
        assert made.notices.gone == {A}
        await asyncio.sleep(10)
        assert made.cache.brought == []
        assert made.state(A) is None


@in_virtual_time
async def test_revoked_while_it_is_loaded() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=5.0)
        await made.assign(spec(A))
        await asyncio.sleep(1)
        waiting = made.wish(A)
        await settle()
        await made.revoke(A)
        assert (await waiting).refusal is Refusal.UNKNOWN
        assert made.notices.gone == set()
        await asyncio.sleep(5)
        assert made.notices.gone == {A}
        assert made.server.calls[-1] == "unload a"


@in_virtual_time
async def test_gone_is_said_only_after_the_drain() -> None:
    async with world() as made:
        await made.assign(spec(A))
        follower = made.follow()
        await made.revoke(A)
        await made.revoke(A)
        assert made.notices.gone == set()
        assert made.reporter.model(A) is None
        made.actor.followers.detach(follower)
        await settle()
        assert made.notices.gone == {A}


@in_virtual_time
async def test_assigned_again_while_it_drains_with_the_same_files() -> None:
    async with world() as made:
        await made.assign(spec(A))
        made.follow()
        await made.revoke(A)
        await made.assign(spec(A))
        assert made.state(A) is State.RESIDENT
        assert made.server.loads == [A]
        assert made.report(A).available
        assert made.notices.gone == set()


@in_virtual_time
async def test_assigned_again_while_it_drains_with_other_files() -> None:
    async with world() as made:
        await made.assign(spec(A, 3))
        follower = made.follow()
        await made.revoke(A)
        # Deleted and registered anew: its generations begin again.
        await made.assign(spec(A, 1, fingerprint="2"))
        waiting = made.wish(A)
        await settle()
        assert not waiting.done(), "what was deleted must not answer under its old name"
        made.actor.followers.detach(follower)
        assert (await waiting).refusal is None
        assert _loaded(made) == ["a-1", "a-2"]
        assert made.report(A).available


@in_virtual_time
async def test_gone_while_it_is_fetched_again_is_not_gone() -> None:
    async with world() as made:
        await made.assign(spec(A))
        follower = made.follow()
        await made.revoke(A)
        made.cache.seconds["/a"] = 5.0
        await made.assign(spec(A))
        made.actor.followers.detach(follower)
        await settle()
        assert made.state(A) is None
        assert made.notices.gone == set()
        assert A in made.notices.dirty
        await asyncio.sleep(6)
        assert made.state(A) is State.RESIDENT


@in_virtual_time
async def test_revoked_again_while_the_first_time_is_not_over() -> None:
    async with world() as made:
        await made.assign(spec(A))
        follower = made.follow()
        await made.revoke(A)
        made.cache.seconds["/a"] = 5.0
        await made.assign(spec(A))
        await made.revoke(A)
        assert made.notices.gone == set()
        made.actor.followers.detach(follower)
        await settle()
        assert made.notices.gone == {A}


# -- across a restart


@in_virtual_time
async def test_what_eviction_goes_by_survives_a_restart() -> None:
    async with world() as before:
        before.server.scripts[A] = Script(seconds=2.0)
        await before.assign(spec(A), spec(B))
        before.actor.evict(ModelName(A))
        await before.activate(A)
        before.assignments.remember()
        seconds = before.actor.entries[ModelName(A)].load_seconds
        used = before.history.last_used(A)
        assert seconds is not None
        assert used is not None
    async with world(history=before.history) as after:
        await after.assign(spec(A), spec(B))
        entry = after.actor.entries[ModelName(A)]
        assert after.clock.to_wall(entry.last_used) == pytest.approx(used, abs=0.5)
        assert after.actor.entries[ModelName(B)].last_used == -float("inf")
        # Warming loaded it once more, in no time at all: what was known still counts.
        assert 0.0 < (after.actor.entries[ModelName(A)].load_seconds or 0.0) < seconds
