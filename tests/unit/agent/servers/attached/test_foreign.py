"""Models that Overbook did not put into a server: shown, and left alone."""

from __future__ import annotations

import asyncio

import pytest

from overbook.agent.servers.attached.foreign import Foreign
from overbook.agent.servers.protocol import ModelRejected, Presence
from tests.unit.agent.servers.attached.world import CALL, World, until


async def test_what_was_there_before_is_shown_and_its_name_is_taken(world: World) -> None:
    await world.start()
    assert world.server.foreign == (Foreign("theirs", Presence.READY),)
    with pytest.raises(ModelRejected, match="has a model of this name that Overbook did not put"):
        await world.server.validate(world.model("theirs"))
    with pytest.raises(ModelRejected, match="has a model of this name"):
        await world.load("theirs")
    assert world.theirs.told == []
    assert await world.server.index(timeout=CALL) == {}


async def test_a_folder_without_a_model_is_taken_too(world: World) -> None:
    (world.repository / "iris").mkdir()
    await world.start()
    with pytest.raises(ModelRejected, match="which Overbook did not put there"):
        await world.load()


async def test_what_appears_meanwhile_is_shown(world: World) -> None:
    await world.start()
    watch = asyncio.create_task(world.server.wait_exit())
    world.theirs.loaded["late"] = Presence.LOADING
    await asyncio.wait_for(until(lambda: len(world.server.foreign) == 2), CALL)
    assert world.server.foreign[0] == Foreign("late", Presence.LOADING)
    watch.cancel()
