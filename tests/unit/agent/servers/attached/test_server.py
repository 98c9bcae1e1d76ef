"""A server that somebody else started: loads and unloads, losing it, and leaving it as it was."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.servers.protocol import ModelRejected, Presence, ServerUnreachable
from tests.unit.agent.servers.attached.world import CALL, World


async def test_only_what_is_loaded_lies_in_the_folder(world: World) -> None:
    await world.start()
    await world.load()
    assert world.folders() == {"iris"}
    assert await world.server.index(timeout=CALL) == {"iris": Presence.READY}
    assert await world.server.presence("iris", timeout=CALL) is Presence.READY
    assert await world.server.presence("other", timeout=CALL) is Presence.ABSENT
    assert await world.server.presence("theirs", timeout=CALL) is Presence.ABSENT
    await world.server.unload("iris", timeout=CALL)
    assert world.folders() == set()
    assert world.theirs.loaded == {"theirs": Presence.READY}


async def test_where_the_server_finds_nothing_the_folder_is_asked_about(world: World) -> None:
    await world.start()
    world.theirs.refuses = "failed to load 'iris', failed to poll from model repository"
    with pytest.raises(ModelRejected, match=r"; is spec\.modelRepository\.path '.*' the folder"):
        await world.load()


async def test_a_refusal_takes_its_files_away_and_a_failed_update_leaves_the_old_one(
    world: World,
) -> None:
    await world.start()
    world.theirs.refuses = "no such class"
    with pytest.raises(ModelRejected, match="Plain refused iris: no such class"):
        await world.load()
    assert world.folders() == set()
    world.theirs.refuses = ""
    await world.load()
    world.theirs.refuses = "broken"
    with pytest.raises(ModelRejected, match="broken"):
        await world.load(content="two")
    assert world.theirs.loaded["iris"] is Presence.READY
    assert world.folders() == {"iris"}


async def test_silence_is_loss_and_so_is_a_model_that_is_gone(world: World) -> None:
    await world.start()
    await world.load()
    watch = asyncio.create_task(world.server.wait_exit())
    await asyncio.sleep(0)
    del world.theirs.loaded["iris"]
    with pytest.raises(ServerUnreachable, match="no longer holds iris: it was started again"):
        await asyncio.wait_for(watch, CALL)

    await world.start()
    watch = asyncio.create_task(world.server.wait_exit())
    world.theirs.live = False
    with pytest.raises(ServerUnreachable, match="localhost:8000 does not answer any more"):
        await asyncio.wait_for(watch, CALL)


async def test_to_stop_is_to_let_go(world: World) -> None:
    await world.start()
    await world.load()
    await world.server.stop(grace=0)
    assert world.theirs.loaded == {"theirs": Presence.READY, "iris": Presence.READY}
    with pytest.raises(ServerUnreachable, match="is not connected"):
        await world.load()


async def test_to_release_is_to_take_ours_away(world: World) -> None:
    await world.start()
    await world.load()
    await world.server.stop(grace=0)
    await world.server.release(timeout=CALL)
    assert world.theirs.loaded == {"theirs": Presence.READY}
    assert world.folders() == set()


async def test_release_of_one_that_never_answered_does_nothing(world: World) -> None:
    await world.server.release(timeout=CALL)
    assert world.theirs.told == []


async def test_a_server_that_dies_during_a_load_is_not_the_models_fault(world: World) -> None:
    await world.start()
    world.theirs.hangs, world.theirs.live = True, False
    with pytest.raises(ServerUnreachable):
        await world.load()
