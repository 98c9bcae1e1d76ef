"""Copies on the disk: what happens to damaged ones, and which may go."""

from __future__ import annotations

import asyncio

from overbook.residency.effects import Refusal
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, World, spec, world


def _sync(made: World, *specs: pb.AssignedModel) -> None:
    made.assignments.update(pb.AssignmentUpdate(reset=True, assigned=specs, complete=True))


def _loaded(made: World) -> list[str]:
    """The artifacts given to the server, in order."""
    return [model.artifact.name for model in made.server.loaded_from]


# -- damaged copies


@in_virtual_time
async def test_a_damaged_copy_is_fetched_again_before_anybody_is_told() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        await made.activate(B)
        made.cache.damaged.add("a-1")
        assert (await made.activate(A)).refusal is None
        assert made.cache.brought == ["/a", "/b", "/a"]
        assert "ArtifactDamaged" in made.events()
        assert "ModelLoadFailed" not in made.events()


@in_virtual_time
async def test_files_that_somebody_changed_are_told_of_and_fetched_again_before_a_load() -> None:
    async with world(budget=MB) as made:
        await made.assign(spec(A))
        await made.assign(spec(B))
        await made.activate(B)
        made.cache.touched.add("a-1")
        assert (await made.activate(A)).refusal is None
        assert made.cache.brought == ["/a", "/b", "/a"]
        assert made.events().count("ArtifactDamaged") == 1


@in_virtual_time
async def test_a_damaged_copy_that_cannot_be_fetched_again_fails_with_both_reasons() -> None:
    async with world(server_up=False) as made:
        await made.assign(spec(A))
        made.cache.damaged.add("a-1")
        made.cache.failures["/a"] = "/a does not exist"
        made.server.start_failure = ""
        answer = await made.activate(A)
        assert answer.refusal is Refusal.LOAD_FAILED
        assert "unpickling failed" in answer.reason
        assert "damaged: /a does not exist" in answer.reason


@in_virtual_time
async def test_a_source_that_changed_since_heals_with_what_is_there_now() -> None:
    async with world(server_up=False) as made:
        await made.assign(spec(A))
        made.cache.damaged.add("a-1")
        made.cache.digests["/a"] = "changed"
        made.server.start_failure = ""
        assert (await made.activate(A)).refusal is None
        assert _loaded(made) == ["a-1", "changed"]
        await made.assign(spec(A, 2, memory=2 * MB))
        assert _loaded(made) == ["a-1", "changed"]


@in_virtual_time
async def test_a_model_that_is_broken_in_itself_is_read_once_not_at_every_try() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(fail="bad pickle")
        await made.assign(spec(A))
        await asyncio.sleep(100)
        assert len(made.server.loads) == 4
        assert made.cache.verified == ["a-1"]


@in_virtual_time
async def test_a_copy_that_killed_the_server_is_checked_before_the_next_try() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=1.0, crash=True)
        await made.assign(spec(A))
        await asyncio.sleep(1.1)
        made.cache.damaged.add("a-1")
        made.server.scripts[A] = Script()
        assert (await made.activate(A)).refusal is None
        assert made.cache.brought == ["/a", "/a"]


# -- pruning


@in_virtual_time
async def test_nothing_is_pruned_before_the_scheduler_said_everything() -> None:
    async with world() as made:
        await made.assign(spec(A))
        await made.assignments.prune()
        assert made.cache.kept == []
        _sync(made, spec(A))
        await settle()
        await made.assignments.prune()
        assert made.cache.kept == [{"a-1"}]
        assert made.cache.places == {spec(A).storage_uri}
        await made.assignments.prune()
        assert len(made.cache.kept) == 1, "nothing changed since"


@in_virtual_time
async def test_nothing_is_pruned_while_copies_are_still_to_be_looked_up() -> None:
    async with world() as made:
        made.cache.seconds["/b"] = 5.0
        _sync(made, spec(A), spec(B))
        await made.assignments.prune()
        assert made.cache.kept == []
        await asyncio.sleep(6)
        await made.assignments.prune()
        assert made.cache.kept == [{"a-1", "b-1"}]


@in_virtual_time
async def test_files_of_an_older_content_stay_as_long_as_it_is_loaded() -> None:
    async with world() as made:
        made.server.scripts[A] = Script(seconds=5.0)
        _sync(made, spec(A))
        await asyncio.sleep(1)
        await made.assign(spec(A, 2, fingerprint="2"))
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-1", "a-2"}, "the old one is being loaded"
        await asyncio.sleep(5)
        await made.assign(spec(A, 3, fingerprint="3"))
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-1", "a-2", "a-3"}, "one serves, one is being loaded"
        await asyncio.sleep(20)
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-3"}


@in_virtual_time
async def test_files_of_a_model_that_leaves_stay_until_it_has_left() -> None:
    async with world() as made:
        _sync(made, spec(A))
        await settle()
        follower = made.follow()
        await made.revoke(A)
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-1"}
        made.actor.followers.detach(follower)
        await settle()
        await made.assignments.prune()
        assert made.cache.kept[-1] == set()


@in_virtual_time
async def test_files_that_are_weighed_go_afterwards_where_nobody_wants_them_any_more() -> None:
    async with world(weighs=True) as made:
        made.server.scripts[A] = Script(seconds=5.0)
        _sync(made, spec(A))
        await settle()
        under_way = set(made.agent.weigher.under_way)
        assert under_way == {"a-1"}
        await made.revoke(A)
        await made.assignments.prune()
        assert made.cache.kept[-1] == {"a-1"}
        await asyncio.sleep(20)
        await made.assignments.prune()
        assert made.cache.kept[-1] == set()
