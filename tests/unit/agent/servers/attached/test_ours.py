"""Models of ours in an attached server: inherited, unloaded when nobody asks for them, stuck in their load."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.servers.attached.server import Pace
from overbook.agent.servers.protocol import ModelRejected, Presence
from tests.unit.agent.servers.attached.world import CALL, World, until


async def test_an_unload_ends_when_the_server_has_let_go(world: World) -> None:
    await world.start()
    await world.load()
    world.theirs.slow_unloads = 3
    unloading = asyncio.create_task(world.server.unload("iris", timeout=CALL))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.folders() == {"iris"}
    await unloading
    assert world.theirs.slow_unloads < 0
    assert world.folders() == set()


async def test_an_agent_that_comes_back_inherits_what_is_unchanged(world: World) -> None:
    await world.start()
    await world.load("same")
    await world.load("changed")
    await world.load("unwanted")
    await world.server.close()
    world.theirs.told.clear()

    world.server = world.another(Pace(poll=0.0, again=0.0, index=0.0, inherit=0.05))
    await world.start()
    await world.load("same")
    await world.load("changed", "two")
    assert "load same" not in world.theirs.told
    assert "load changed" in world.theirs.told
    await asyncio.wait_for(until(lambda: "unwanted" not in world.theirs.loaded), CALL)
    assert world.folders() == {"same", "changed"}


async def test_nothing_new_is_loaded_beside_what_is_in_nobodys_ledger(world: World) -> None:
    await world.start()
    await world.load("old")
    await world.server.close()
    world.theirs.told.clear()

    world.server = world.another()
    await world.start()
    await world.load("new")
    assert world.theirs.told == ["unload old", "load new"]


async def test_a_content_that_was_put_there_but_not_loaded_is_not_inherited(world: World) -> None:
    await world.start()
    await world.load()
    world.theirs.refuses = "broken"
    with pytest.raises(ModelRejected):
        await world.load(content="two")
    world.theirs.refuses = ""
    await world.server.close()
    world.theirs.told.clear()

    world.server = world.another()
    await world.start()
    assert world.theirs.told == ["unload iris"], "which of the two it has, nobody knows"
    assert world.folders() == set()


async def test_a_load_that_does_not_end_is_the_models_fault_and_nobody_elses(world: World) -> None:
    await world.start()
    await world.load("other")
    world.theirs.hangs = True
    with pytest.raises(ModelRejected, match=r"its load did not end within 4\.75 s; Plain goes on"):
        await world.load()
    world.theirs.hangs = False
    with pytest.raises(ModelRejected, match="an earlier load of it has not ended in Plain"):
        await world.load()
    await world.server.unload("iris", timeout=CALL)
    assert "unload iris" not in world.theirs.told, "it would not answer"

    watch = asyncio.create_task(world.server.wait_exit())
    world.theirs.loaded["iris"] = Presence.READY
    await asyncio.wait_for(until(lambda: "iris" not in world.theirs.loaded), CALL)
    watch.cancel()
    await world.load()
    assert world.theirs.loaded["iris"] is Presence.READY
    assert world.folders() == {"iris", "other"}


async def test_a_load_that_hangs_does_not_keep_the_agent_from_connecting(world: World) -> None:
    await world.start()
    await world.load("other")
    world.theirs.hangs = True
    with pytest.raises(ModelRejected):
        await world.load()
    await world.server.stop(grace=0)
    world.theirs.hangs = False
    world.theirs.told.clear()
    await world.start()
    assert "unload iris" not in world.theirs.told
    await world.load("other")
    with pytest.raises(ModelRejected, match="an earlier load of it"):
        await world.load()
