"""A server that somebody else started, as a fake, and the adapter that is attached to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from overbook.agent.servers.attached.connection import Attachment
from overbook.agent.servers.attached.folder import SharedFolder, digest_of
from overbook.agent.servers.attached.foreign import Foreign
from overbook.agent.servers.attached.kinds import Control
from overbook.agent.servers.attached.server import AttachedServer, Pace
from overbook.agent.servers.protocol import (
    Addresses,
    Configuration,
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

    async def configuration(self, name: str, *, timeout: float) -> Configuration:
        return Configuration(json=name.encode(), message=name.encode())

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

    async def configuration(self, client: Control, name: str, *, timeout: float) -> Configuration:
        return await client.configuration(name, timeout=timeout)

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


async def until(done: Callable[[], bool]) -> None:
    while True:
        if done():
            return
        await asyncio.sleep(0)
