"""Models whose files left the disk, or are not as they were published: fetched again when somebody wants them."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from overbook.agent.facts import Facts
from overbook.agent.kinds import ArtifactKind
from overbook.agent.proven import Proven
from overbook.agent.servers.protocol import PreparedModel, Weight
from overbook.artifacts.address import Asked
from overbook.artifacts.disk import Hold
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.index import Content
from overbook.residency.effects import Refusal
from overbook.residency.states import State
from overbook.wire import scheduler_pb2 as pb
from tests.fakes.fake_server import Script
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, World, spec, world

URI = "s3://b/a"


def remote(name: str = A, generation: int = 1, *, pinned: bool = False) -> pb.AssignedModel:
    return spec(name, generation, uri=URI, pinned=pinned)


def digest_of(made: World, name: str = A) -> str:
    content = made.assignments.assigned[name].content
    assert content is not None
    return content.artifact.digest


async def assigned_and_gone(made: World) -> str:
    """A cold model whose files were here, and left: their digest."""
    digest = await assigned_and_cold(made)
    made.cache.left.add(digest)
    return digest


async def assigned_and_cold(made: World) -> str:
    """Of a world with memory for one model. What was asked of its source so far is forgotten."""
    await made.assign(remote(), spec(B))
    assert (await made.activate(A)).refusal is None
    assert (await made.activate(B)).refusal is None
    assert made.report(A).available
    made.cache.brought.clear()
    made.cache.asked.clear()
    made.server.loaded_from.clear()
    made.server.calls.clear()
    return digest_of(made)


def one_at_a_time() -> AbstractAsyncContextManager[World]:
    """A world with memory for one model."""
    return world(budget=MB)


def know(made: World, asked: pb.AssignedModel, digest: str) -> None:
    """As after a restart: it was fetched at some time, and its files have left since."""
    address = Asked(asked.storage_uri, fingerprint=asked.fingerprint)
    made.cache.contents[address] = Content(digest, MB)
    made.cache.facts[digest] = Facts(ArtifactKind("onnx", MB)).text
    made.cache.left.add(digest)


@in_virtual_time
async def test_a_request_waits_for_the_files_and_is_answered() -> None:
    async with one_at_a_time() as made:
        digest = await assigned_and_gone(made)
        made.cache.seconds[URI] = 7.0
        activation = await made.activate(A)
        assert activation.refusal is None
        assert activation.waited >= 7.0
        assert made.cache.brought == [URI]
        assert digest not in made.cache.left


@in_virtual_time
async def test_many_requests_wait_for_one_fetch() -> None:
    async with one_at_a_time() as made:
        await assigned_and_gone(made)
        made.cache.seconds[URI] = 7.0
        wishes = [made.wish(A) for _ in range(5)]
        assert [each.refusal for each in await asyncio.gather(*wishes)] == [None] * 5
        assert made.cache.brought == [URI]


@in_virtual_time
async def test_what_requests_wait_for_is_held_until_they_have_it() -> None:
    async with one_at_a_time() as made:
        digest = await assigned_and_gone(made)
        assert made.agent.uses()[digest].hold is Hold.NONE
        made.cache.seconds[URI] = 7.0
        wish = made.wish(A)
        await asyncio.sleep(1)
        assert made.agent.uses()[digest].hold is Hold.BRIEFLY
        await wish
        assert made.agent.uses()[digest].hold is Hold.FIRM


@in_virtual_time
async def test_within_its_deadline_a_request_waits_through_what_passes() -> None:
    async with one_at_a_time() as made:
        await assigned_and_gone(made)
        made.cache.troubles[URI] = SourceError(Trouble.UNREACHABLE, "its source is away")
        wish = made.wish(A)
        await asyncio.sleep(10)
        assert not wish.done()
        del made.cache.troubles[URI]
        assert (await wish).refusal is None


@in_virtual_time
async def test_at_the_end_of_its_deadline_it_is_told_why() -> None:
    async with one_at_a_time() as made:
        await assigned_and_gone(made)
        made.cache.troubles[URI] = SourceError(Trouble.UNREACHABLE, "its source is away")
        began = made.clock.now()
        activation = await made.activate(A, timeout=20.0)
        assert activation.refusal is Refusal.DEADLINE
        assert activation.reason == (
            "its files had left the disk, and are tried again in 10 s: its source is away"
        )
        assert made.clock.now() - began == 20.0


@in_virtual_time
async def test_what_does_not_pass_is_told_at_once() -> None:
    async with one_at_a_time() as made:
        await assigned_and_gone(made)
        made.cache.troubles[URI] = SourceError(Trouble.NOT_ALLOWED, "it lets nobody in")
        began = made.clock.now()
        for _ in range(2):
            activation = await made.activate(A)
            assert activation.refusal is Refusal.LOAD_FAILED
            assert activation.reason == "it lets nobody in"
        assert made.clock.now() == began


@in_virtual_time
async def test_a_resident_model_needs_no_files() -> None:
    async with world() as made:
        await made.assign(remote())
        await made.activate(A)
        made.cache.left.add(digest_of(made))
        assert (await made.activate(A)).refusal is None
        assert made.cache.brought == [URI]


@in_virtual_time
async def test_after_a_restart_it_is_registered_without_a_fetch() -> None:
    async with world() as made:
        know(made, remote(), "known")
        made.cache.troubles[URI] = SourceError(Trouble.UNREACHABLE, "the network is away")
        unverified = remote()
        unverified.take_unverified = True
        await made.assign(unverified)
        assert made.report(A).available
        assert not made.report(A).files_here
        assert made.cache.brought == []
        del made.cache.troubles[URI]
        made.cache.digests[URI] = "known"
        assert (await made.activate(A)).refusal is None
        assert made.report(A).files_here


@in_virtual_time
async def test_after_a_restart_what_was_loaded_last_goes_on_while_the_new_cannot_be_fetched() -> (
    None
):
    proven = Proven(Path(":memory:"))
    async with world(proven=proven) as before:
        await before.assign(remote())
        await before.activate(A)
    async with world(proven=proven) as made:
        made.cache.troubles[URI] = SourceError(Trouble.UNREACHABLE, "the network is away")
        changed = remote(generation=2)
        changed.fingerprint = "2"
        await made.assign(changed)
        assert (await made.activate(A)).refusal is None
        assert "the network is away" in made.assignments.assigned[A].failure


@in_virtual_time
async def test_files_of_a_pinned_model_come_with_it() -> None:
    """It is loaded at once, so nothing is gained by waiting."""
    async with world() as made:
        pinned = remote(pinned=True)
        know(made, pinned, "known")
        made.cache.digests[URI] = "known"
        await made.assign(pinned)
        assert made.cache.brought == [URI]
        assert made.agent.uses()["known"].hold is Hold.FIRM


@in_virtual_time
async def test_other_files_at_the_source_are_told_and_served() -> None:
    async with one_at_a_time() as made:
        old = await assigned_and_gone(made)
        made.cache.digests[URI] = "new"
        made.cache.fingerprints[URI] = "2"
        assert (await made.activate(A)).refusal is None
        assert made.events().count("ArtifactChanged") == 1
        assert digest_of(made) == "new" != old
        assert [each.artifact.name for each in made.server.loaded_from] == ["new"]


@in_virtual_time
async def test_a_source_that_names_a_time_is_left_alone_until_then() -> None:
    async with world() as made:
        made.cache.troubles[URI] = SourceError(Trouble.BUSY, "later", retry_after=90.0)
        asked = made.cache.asked
        await made.assign(remote())
        assert asked[URI] == 1
        await asyncio.sleep(89)
        assert asked[URI] == 1
        await asyncio.sleep(2)
        assert asked[URI] == 2


@in_virtual_time
async def test_no_source_is_left_alone_for_ever() -> None:
    async with world() as made:
        made.cache.troubles[URI] = SourceError(Trouble.BUSY, "later", retry_after=1e12)
        await made.assign(remote())
        del made.cache.troubles[URI]
        await asyncio.sleep(3601)
        assert made.report(A).available


@in_virtual_time
async def test_what_passes_is_tried_at_growing_intervals() -> None:
    async with world() as made:
        made.cache.troubles[URI] = SourceError(Trouble.UNREACHABLE, "away")
        await made.assign(remote())
        await asyncio.sleep(200)
        # At 0, 2, 6, 14, 30, 62 and 122 s, then each minute.
        assert made.cache.asked[URI] == 8


@in_virtual_time
async def test_what_somebody_has_to_put_right_is_tried_seldom() -> None:
    async with world() as made:
        made.cache.troubles[URI] = SourceError(Trouble.NOT_ALLOWED, "it lets nobody in")
        await made.assign(remote())
        await asyncio.sleep(299)
        assert made.cache.asked[URI] == 1
        assert made.report(A).failed
        assert not made.report(A).final
        await asyncio.sleep(2)
        assert made.cache.asked[URI] == 2


@in_virtual_time
async def test_what_is_final_is_not_tried_again() -> None:
    async with world() as made:
        made.cache.troubles[URI] = SourceError(Trouble.REFUSED, "larger than the cache")
        await made.assign(remote())
        await asyncio.sleep(4000)
        assert made.cache.asked[URI] == 1
        assert made.report(A).final


@in_virtual_time
async def test_another_secret_tries_what_was_refused() -> None:
    async with world() as made:
        made.cache.troubles[URI] = SourceError(Trouble.NOT_ALLOWED, "it lets nobody in")
        one = remote()
        one.secret = "mine"
        await made.assign(one)
        made.assignments.another_try.secrets_changed(frozenset({"other"}))
        await settle()
        assert made.cache.asked[URI] == 1
        del made.cache.troubles[URI]
        made.assignments.another_try.secrets_changed(frozenset({"mine"}))
        await settle()
        assert made.report(A).available


# -- present: while somebody reads


@in_virtual_time
async def test_files_are_held_while_they_are_loaded() -> None:
    async with one_at_a_time() as made:
        digest = await assigned_and_cold(made)
        made.server.scripts[A] = Script(seconds=5.0)
        wish = made.wish(A)
        await asyncio.sleep(1)
        assert made.state(A) is State.LOADING
        assert made.cache.holds[digest] == 2  # the request's and the load's
        await wish
        assert made.cache.holds[digest] == 0


@in_virtual_time
async def test_files_that_were_touched_are_fetched_anew_before_a_load() -> None:
    async with one_at_a_time() as made:
        made.cache.touched.add(await assigned_and_cold(made))
        assert (await made.activate(A)).refusal is None
        assert made.cache.brought == [URI]
        assert made.server.loads == [A]


@in_virtual_time
async def test_a_load_does_not_wait_for_ever_for_a_fetch_and_blames_nobody_else() -> None:
    async with one_at_a_time() as made:
        made.cache.touched.add(await assigned_and_cold(made))
        made.cache.seconds[URI] = 1e6
        activation = await made.activate(A, timeout=3000.0)
        assert activation.refusal is Refusal.LOAD_FAILED
        assert "reading or fetching it took longer than" in activation.reason
        assert made.server.loads == []
        assert (await made.activate(B)).refusal is None
        assert "ServerStuck" not in made.events()


@in_virtual_time
async def test_whatever_looking_at_files_raises_fails_that_load_alone() -> None:
    async with one_at_a_time() as made:
        made.cache.raises[await assigned_and_cold(made)] = ValueError("nobody thought of this")
        activation = await made.activate(A)
        assert activation.refusal is Refusal.LOAD_FAILED
        assert "nobody thought of this" in activation.reason
        assert (await made.activate(B)).refusal is None


@in_virtual_time
async def test_files_that_left_are_no_damaged_ones() -> None:
    async with one_at_a_time() as made:
        await assigned_and_gone(made)
        content = made.assignments.assigned[A].content
        assert content is not None
        assert await made.assignments.repair(content.prepared) is not None
        assert made.cache.verified == []
        assert "ArtifactDamaged" not in made.events()
        assert made.cache.brought == [URI]


@in_virtual_time
async def test_what_is_weighed_is_here_and_held_meanwhile() -> None:
    async with world(weighs=True) as made:
        held: list[int] = []
        plain = made.server.weigh

        async def weigh(
            model: PreparedModel, *, timeout: float, request: bytes | None = None
        ) -> Weight | None:
            held.append(made.cache.holds["known"])
            return await plain(model, timeout=timeout, request=request)

        made.server.weigh = weigh  # type: ignore[method-assign]
        unverified = remote()
        unverified.take_unverified = True
        know(made, unverified, "known")
        made.cache.digests[URI] = "known"
        await made.assign(unverified)
        await asyncio.sleep(60)
        assert held
        assert all(held)
        assert made.cache.brought == [URI]
        assert made.cache.holds["known"] == 0
