"""A server that somebody else started: taking stock, inheriting, losing it, and leaving it as it was."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from overbook.agent.servers.attached.folder import SharedFolder, digest_of
from overbook.agent.servers.attached.kinds import Control
from overbook.agent.servers.attached.server import AttachedServer, Attachment, Foreign, Pace
from overbook.agent.servers.protocol import (
    Addresses,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
)

CALL = 5.0
QUICK = Pace(poll=0.0, again=0.0, index=0.0, inherit=0.0)


class Theirs:
    """The server itself: what it has loaded, whether it answers, and what it was told."""

    def __init__(self) -> None:
        self.live = True
        self.grpc = True
        self.loaded: dict[str, Presence] = {"theirs": Presence.READY}
        self.refuses = ""
        self.hangs = False
        self.slow_unloads = 0
        self.leaving = ""
        self.told: list[str] = []
        self.addresses = Addresses("", "")

    def connect(self, addresses: Addresses) -> Control:
        self.addresses = addresses
        return self

    async def live_rest(self, *, timeout: float) -> bool:
        await asyncio.sleep(0)
        return self.live

    async def live_grpc(self, *, timeout: float) -> bool:
        return self.live and self.grpc

    async def load(self, name: str, *, timeout: float) -> None:
        self.told.append(f"load {name}")
        if self.refuses:
            raise ModelRejected(self.refuses)
        if self.hangs:
            self.loaded.setdefault(name, Presence.LOADING)
            raise ServerUnreachable(f"{name}: no answer within {timeout:g} s")
        self.loaded[name] = Presence.READY

    async def unload(self, name: str, *, timeout: float) -> bool:
        self.told.append(f"unload {name}")
        self.leaving = name
        return self.loaded.pop(name, None) is not None

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        await asyncio.sleep(0)
        if not self.live:
            raise ServerUnreachable("gone")
        return dict(self.loaded)

    async def index_states(self, *, timeout: float) -> Mapping[str, str]:
        self.slow_unloads -= 1
        states = {name: each.name for name, each in self.loaded.items()}
        if self.slow_unloads >= 0:
            states[self.leaving] = "UNLOADING"
        return states

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return {"name": name}

    async def close(self) -> None:
        self.told.append("close")


class Plain:
    """A kind whose models are one file."""

    name = "Plain"
    command = "no such command"

    def __init__(self) -> None:
        self.wrong_mode = ""
        self.bytes: dict[str, int] = {}

    async def check(self, client: Control, *, timeout: float) -> None:
        if self.wrong_mode:
            raise ServerStartFailed(self.wrong_mode)

    def validate(self, model: PreparedModel) -> None:
        if not model.artifact.is_dir():
            raise ModelRejected(f"model {model.name}: no files")

    def publish(self, model: PreparedModel, folder: SharedFolder) -> None:
        files = folder.temporary()
        files.mkdir()
        (files / "digest").write_text(digest_of(model))
        folder.swap_in(model.name, files)

    def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return {"name": model.name}

    def model_memory(self, pid: int, name: str) -> ProcessMemory | None:
        return ProcessMemory(self.bytes[name], 1) if name in self.bytes else None


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.theirs = Theirs()
        self.kind = Plain()
        self.changes: list[tuple[Foreign, ...]] = []
        self.server = self.another()

    def another(self, pace: Pace = QUICK) -> AttachedServer:
        attachment = Attachment("localhost:8000", "127.0.0.1:8001", self.repository)
        return AttachedServer(
            attachment, self.kind, self.foreign_changed, self.theirs.connect, pace
        )

    def foreign_changed(self) -> None:
        self.changes.append(self.server.foreign)

    def model(self, name: str = "iris", content: str = "one") -> PreparedModel:
        artifact = self.folder / "cache" / content
        artifact.mkdir(parents=True, exist_ok=True)
        return PreparedModel(name, 1, artifact)

    async def start(self) -> None:
        await self.server.start(timeout=0)

    async def load(self, name: str = "iris", content: str = "one") -> None:
        await self.server.load(self.model(name, content), timeout=CALL)

    def folders(self) -> set[str]:
        return {each.name for each in self.repository.iterdir() if each.is_dir()}


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.server.close()


async def test_names_are_resolved_for_the_data_plane(world: World) -> None:
    assert world.server.addresses == Addresses("", "")
    await world.start()
    assert world.server.addresses.rest in ("127.0.0.1:8000", "[::1]:8000")
    assert world.server.addresses.grpc == "127.0.0.1:8001"
    assert world.theirs.addresses == world.server.addresses
    assert world.server.pid is None
    assert (await world.server.memory()).processes == 0


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


async def test_where_the_server_finds_nothing_the_folder_is_asked_about(world: World) -> None:
    await world.start()
    world.theirs.refuses = "failed to load 'iris', failed to poll from model repository"
    with pytest.raises(ModelRejected, match=r"; is spec\.modelRepository\.path '.*' the folder"):
        await world.load()


async def test_a_process_that_is_seen_is_measured_and_so_are_models_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def listening(address: str, command: str) -> int:
        asked.append((address, command))
        return os.getpid()

    monkeypatch.setattr("overbook.agent.servers.attached.server.listening_process", listening)
    world.kind.bytes["theirs"] = 5 * 1024 * 1024 + 17
    await world.start()
    assert asked == [(world.server.addresses.rest, "no such command")]
    assert (await world.server.memory()).bytes > 1_000_000
    assert world.changes == [(Foreign("theirs", Presence.READY, 5 * 1024 * 1024),)]
    assert await world.server.model_memory("iris") is None
    await world.server.stop(grace=0)
    assert world.server.pid is None


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
    await asyncio.wait_for(_until(lambda: "unwanted" not in world.theirs.loaded), CALL)
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


async def test_what_appears_meanwhile_is_shown(world: World) -> None:
    await world.start()
    watch = asyncio.create_task(world.server.wait_exit())
    world.theirs.loaded["late"] = Presence.LOADING
    await asyncio.wait_for(_until(lambda: len(world.server.foreign) == 2), CALL)
    assert world.server.foreign[0] == Foreign("late", Presence.LOADING)
    watch.cancel()


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


@pytest.mark.parametrize(
    ("rest", "told"), [(False, "spec.address.rest"), (True, "spec.address.grpc")]
)
async def test_nobody_there(world: World, rest: bool, told: str) -> None:
    world.theirs.live, world.theirs.grpc = rest, False
    with pytest.raises(ServerStartFailed, match=f"Plain: {told}: nothing that is live answers"):
        await world.start()


async def test_a_wrong_mode_and_a_wrong_folder_are_told(world: World) -> None:
    world.kind.wrong_mode = "wrong mode"
    with pytest.raises(ServerStartFailed, match="wrong mode"):
        await world.start()
    world.repository.rmdir()
    with pytest.raises(ServerStartFailed, match=r"spec.modelRepository.path: .* is no folder"):
        await world.start()


async def test_a_name_that_cannot_be_resolved(world: World) -> None:
    attachment = Attachment("no-such-host.invalid:1", "127.0.0.1:2", world.repository)
    server = AttachedServer(
        attachment, world.kind, world.foreign_changed, world.theirs.connect, QUICK
    )
    with pytest.raises(ServerStartFailed, match=r"'no-such-host.invalid' cannot be resolved"):
        await server.start(timeout=0)


async def _until(done: object) -> None:
    assert callable(done)
    while True:
        if done():
            return
        await asyncio.sleep(0)


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
    await asyncio.wait_for(_until(lambda: "iris" not in world.theirs.loaded), CALL)
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


async def test_a_server_that_dies_during_a_load_is_not_the_models_fault(world: World) -> None:
    await world.start()
    world.theirs.hangs, world.theirs.live = True, False
    with pytest.raises(ServerUnreachable):
        await world.load()
