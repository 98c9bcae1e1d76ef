"""The way to a server that somebody else started, and what is said when there is none."""

from __future__ import annotations

import os

import pytest

from overbook.agent.servers.attached.connection import Attachment
from overbook.agent.servers.attached.foreign import Foreign
from overbook.agent.servers.attached.server import AttachedServer
from overbook.agent.servers.protocol import (
    Addresses,
    Presence,
    ServerStartFailed,
    ServerUnreachable,
)
from tests.unit.agent.servers.attached.world import CALL, QUICK, World


async def test_names_are_resolved_for_the_data_plane(world: World) -> None:
    assert world.server.addresses == Addresses("", "")
    await world.start()
    assert world.server.addresses.rest in ("127.0.0.1:8000", "[::1]:8000")
    assert world.server.addresses.grpc == "127.0.0.1:8001"
    assert world.theirs.addresses == world.server.addresses
    assert world.server.pid is None
    assert (await world.server.memory()).processes == 0


async def test_a_process_that_is_seen_is_measured_and_so_are_models_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def listening(address: str, command: str) -> int:
        asked.append((address, command))
        return os.getpid()

    monkeypatch.setattr("overbook.agent.servers.attached.connection.listening_process", listening)
    world.kind.bytes["theirs"] = 5 * 1024 * 1024 + 17
    await world.start()
    assert asked == [(world.server.addresses.rest, "no such command")]
    assert (await world.server.memory()).bytes > 1_000_000
    assert world.changes == [(Foreign("theirs", Presence.READY, 5 * 1024 * 1024),)]
    assert await world.server.model_memory("iris") is None
    await world.server.stop(grace=0)
    assert world.server.pid is None


@pytest.mark.parametrize(
    ("rest", "told"), [(False, "spec.address.rest"), (True, "spec.address.grpc")]
)
async def test_nobody_there(world: World, rest: bool, told: str) -> None:
    world.theirs.live, world.theirs.grpc = rest, False
    with pytest.raises(ServerStartFailed, match=f"Plain: {told}: no live server answers"):
        await world.start()


async def test_a_wrong_mode_and_a_wrong_folder_are_told(world: World) -> None:
    world.kind.wrong_mode = "wrong mode"
    with pytest.raises(ServerStartFailed, match="wrong mode"):
        await world.start()
    world.repository.rmdir()
    with pytest.raises(ServerStartFailed, match=r"spec.modelRepository.path: .* is not a folder"):
        await world.start()


async def test_a_name_that_cannot_be_resolved(world: World) -> None:
    attachment = Attachment("no-such-host.invalid:1", "127.0.0.1:2", world.repository)
    server = AttachedServer(
        attachment, world.kind, world.foreign_changed, world.theirs.connect, QUICK
    )
    with pytest.raises(ServerStartFailed, match=r"'no-such-host.invalid' cannot be resolved"):
        await server.start(timeout=0)


async def test_what_was_opened_in_vain_is_closed(world: World) -> None:
    world.kind.wrong_mode = "wrong mode"
    with pytest.raises(ServerStartFailed):
        await world.start()
    assert world.theirs.told == ["close"]
    with pytest.raises(ServerUnreachable, match="Plain is not connected"):
        await world.server.index(timeout=CALL)
    assert not await world.server.live(timeout=CALL)
