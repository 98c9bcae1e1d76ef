"""Models leave memory so that their files can leave the disk, and requests for them wait for these files in line."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent import waiting
from overbook.agent.fetches import RETRY_BASE
from overbook.artifacts.errors import NoRoomYet, SourceError, Trouble
from overbook.artifacts.relief import OwnFiles, RoomWanted
from overbook.residency.effects import Refusal
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.agent.virtual_time import in_virtual_time, settle
from tests.unit.agent.world import MB, A, B, C, World, causes, spec, world

NOTHING = RoomWanted(0, (), 0.0)


def digest(made: World, name: str) -> str:
    content = made.assignments.assigned[name].content
    assert content is not None
    return content.artifact.digest


def wanted(made: World, missing: int, *names: str, waited: float = 0.0) -> RoomWanted:
    """Room for which somebody has waited for so many seconds; these hold files of 1 MB each."""
    files = tuple(OwnFiles(digest(made, each), MB, {each}) for each in names)
    return RoomWanted(missing, files, made.clock.now() - waited)


async def resident(made: World, *names: str) -> None:
    await made.assign(*(spec(each) for each in names))
    for each in names:
        assert (await made.activate(each)).refusal is None
    await asyncio.sleep(1)


@in_virtual_time
async def test_idle_models_leave_and_it_is_told_which_files_will_be_free() -> None:
    async with world() as made:
        await resident(made, A, B)
        changes = made.cache.changes
        assert made.actor.relieve(wanted(made, MB, A, B)) == {digest(made, A)}
        assert made.cache.changes == changes + 1, "the disk may be looked at: it leaves"
        await settle()
        assert (made.state(A), made.state(B)) == (State.COLD, State.RESIDENT)
        assert causes(made) == ["disk"]
        assert made.cache.changes == changes + 2
        # It stands: what is gone is counted, and nobody else leaves.
        assert made.actor.relieve(wanted(made, MB, A, B)) == {digest(made, A)}
        assert made.actor.relieve(NOTHING) == set()


@in_virtual_time
async def test_an_agent_that_has_ended_gives_nothing() -> None:
    async with world() as made:
        await resident(made, A)
        room = wanted(made, MB, A)
    assert made.actor.relieve(room) == set()


@in_virtual_time
async def test_a_request_in_time_keeps_the_model() -> None:
    async with world() as made:
        await resident(made, A, B)
        gateway = made.follow()
        made.heard(gateway)
        made.actor.relieve(wanted(made, MB, A))
        assert made.state(A) is State.DRAINING
        granted = await made.grant(A)
        assert (granted.refusal, made.state(A)) == (None, State.RESIDENT)
        made.actor.passed(granted.request)
        assert made.state(A) is State.DRAINING, "nobody needs it any more"


@in_virtual_time
async def test_after_too_long_a_wait_requests_for_the_model_wait_for_its_files_in_line() -> None:
    async with world(limits=Limits(patience=2.0)) as made:
        await resident(made, A)
        gateway = made.follow()
        made.heard(gateway)
        made.actor.relieve(wanted(made, MB, A, waited=3.0))
        ticket = made.withdrawal(gateway)
        request = made.wish(A)
        await asyncio.sleep(1)
        assert made.state(A) is State.DRAINING
        assert made.actor.statistics().waiting == 0, "in the core it would be loaded again at once"
        assert made.cache.holds[digest(made, A)] == 0, "its files could not leave"
        made.actor.followers.withdrawn(gateway, ModelName(A), ticket)
        await asyncio.sleep(0.05)
        assert made.state(A) is State.COLD
        made.cache.left.add(digest(made, A))
        made.actor.relieve(NOTHING)
        assert (await request).refusal is None
        assert made.cache.brought.count(spec(A).storage_uri) == 2


@in_virtual_time
async def test_a_request_for_a_model_that_leaves_does_not_wait_past_its_deadline() -> None:
    async with world(limits=Limits(patience=2.0)) as made:
        await resident(made, A)
        gateway = made.follow()
        made.heard(gateway)
        made.actor.relieve(wanted(made, MB, A, waited=3.0))
        began = made.clock.now()
        assert (await made.activate(A, timeout=1.5)).refusal is Refusal.DEADLINE
        assert made.clock.now() - began < 1.7


@in_virtual_time
async def test_no_more_requests_wait_for_a_model_that_leaves_than_for_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "_MAX_WAITING", 1)
    async with world(limits=Limits(patience=2.0)) as made:
        await resident(made, A)
        gateway = made.follow()
        made.heard(gateway)
        made.actor.relieve(wanted(made, MB, A, waited=3.0))
        first = made.wish(A, timeout=1.0)
        await settle()
        assert (await made.activate(A)).refusal is Refusal.OVERLOADED
        assert (await first).refusal is Refusal.DEADLINE


@in_virtual_time
async def test_a_fetch_is_urgent_while_somebody_needs_the_files() -> None:
    async with world() as made:
        uri = spec(A).storage_uri
        made.cache.seconds[uri] = 5.0
        await made.assign(spec(A))
        assert made.cache.urgent[uri](), "the model is not ready before"
        await asyncio.sleep(6)
        assert not made.cache.urgent[uri]()
        await made.activate(A)
        await made.activate(B)
        made.cache.left.add(digest(made, A))
        made.actor.server_down("it ended")
        request = made.wish(A, timeout=3.0)
        await settle()
        assert made.cache.urgent[uri](), "a request waits"
        await request
        await asyncio.sleep(1)
        assert not made.cache.urgent[uri](), "its time was over"
        await asyncio.sleep(5)
        await made.assign(spec(A, pinned=True))
        assert made.cache.urgent[uri](), "it is pinned"


@in_virtual_time
async def test_models_whose_files_left_are_not_loaded_into_memory_that_is_free() -> None:
    async with world() as made:
        await resident(made, A, B)
        made.actor.server_down("it ended")
        made.agent.files_left(digest(made, A))
        made.actor.server_up()
        await settle()
        assert (made.state(A), made.state(B)) == (State.COLD, State.RESIDENT)


@in_virtual_time
async def test_a_load_fetches_urgently_for_requests_alone() -> None:
    async with world() as made:
        await resident(made, A)
        uri = spec(A).storage_uri
        assert not made.actor.is_wanted(ModelName(A))
        made.actor.server_down("it ended")
        made.cache.left.add(digest(made, A))
        made.cache.seconds[uri] = 5.0
        made.actor.server_up()
        await settle()
        assert made.state(A) is State.LOADING, "into memory that is free"
        assert not made.cache.urgent[uri]()
        request = made.wish(A)
        await settle()
        assert made.cache.urgent[uri]()
        await request


@in_virtual_time
async def test_what_had_no_room_is_tried_at_once_when_somebody_asks() -> None:
    for trouble in (NoRoomYet("waiting for room"), SourceError(Trouble.NO_SPACE, "no room")):
        async with world() as made:
            await resident(made, A)
            uri = spec(A).storage_uri
            assert made.actor.relieve(wanted(made, MB, A))
            await settle()
            made.cache.left.add(digest(made, A))
            made.cache.troubles[uri] = trouble
            assert (await made.activate(A, timeout=0.5)).refusal is Refusal.DEADLINE
            asked = made.cache.asked[uri]
            del made.cache.troubles[uri]
            began = made.clock.now()
            assert (await made.activate(A)).refusal is None
            assert made.clock.now() - began < RETRY_BASE / 2
            assert made.cache.asked[uri] == asked + 1


@in_virtual_time
async def test_a_source_that_asks_to_come_later_is_obeyed_all_the_same() -> None:
    async with world() as made:
        await resident(made, A)
        uri = spec(A).storage_uri
        assert made.actor.relieve(wanted(made, MB, A))
        await settle()
        made.cache.left.add(digest(made, A))
        made.cache.troubles[uri] = SourceError(Trouble.BUSY, "later", retry_after=20.0)
        assert (await made.activate(A, timeout=0.5)).refusal is Refusal.DEADLINE
        asked = made.cache.asked[uri]
        assert (await made.activate(A, timeout=5.0)).refusal is Refusal.DEADLINE
        assert made.cache.asked[uri] == asked


@in_virtual_time
async def test_only_what_was_loaded_need_not_be_weighed_before_its_files_are_back() -> None:
    async with world(weighs=True, budget=MB) as made:
        made.server.scale_seconds = 60.0
        await made.assign(spec(A), spec(B), spec(C))
        assert (await made.activate(C)).refusal is None
        assert {digest(made, B), digest(made, C)} < made.weigher.wanted
        made.agent.files_left(digest(made, B))
        made.agent.files_left(digest(made, C))
        assert digest(made, B) in made.weigher.wanted, "it is not ready before"
        assert digest(made, C) not in made.weigher.wanted
