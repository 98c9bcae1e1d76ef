"""The adapter to MLServer: one process, models of one generation each under one name without a version.

What MLServer does and why the launcher differs from its own is written beside the code that runs inside
it (`overbook/runtimes/mlserver/plugin`). Here is the outside: process, folders, calls.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from overbook.agent.deaths import Calls
from overbook.agent.looking import looked
from overbook.agent.servers.launched.environment import server_environment
from overbook.agent.servers.launched.process import ProcessSpec
from overbook.agent.servers.launched.server import LaunchedServer, tuned
from overbook.agent.servers.launched.sockets import ServerSockets
from overbook.agent.servers.mlserver import calls, requirements, settings
from overbook.agent.servers.mlserver.repository import RestRepository
from overbook.agent.servers.mlserver.weighing_room import WeighingRoom
from overbook.agent.servers.protocol import (
    Addresses,
    Exposition,
    Lives,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerUnreachable,
    Unkept,
    UnloadFailed,
    Warn,
    WeighingFailed,
    Weight,
    unheard,
)
from overbook.agent.servers.versions import Versions

# What a byte of a request's body may become while it is answered: the body, its parts, and a list of Python's numbers;
# and the same of an answer that is about as large (FP64, as they came: 14).
_PER_BODY_BYTE: Final = 14
_LOOK_SECONDS: Final = 2.0
# What no other version of a package would mend.
_NOT_OF_VERSIONS: Final = re.compile(r"^(FileNotFound|Permission|Memory|OS|IsADirectory)Error\b")
# The process' own, below the state of its replica.
_FOLDER: Final = "server"


@dataclass(frozen=True, slots=True)
class MlserverConfig:
    """Where MLServer is installed and where this one server replica keeps its things.

    ``python``: of the runtime's environment. ``plugin``: the folder with the launcher package.
    ``state``: private to this replica; gets ``server/`` and ``server.json``. MLServer's own load call,
    which the agent does not use, takes settings from ``models/``.
    ``threads``: for OpenMP and BLAS inside one prediction; 0 means half of the machine's.
    ``extras``: those of the runtime that are installed; None when that is not known. ``variables``: of its
    environment, before all others; an empty one is left out. ``warn``: is told what may be wrong with models;
    ``lives``: of their metrics. ``log``: what the process writes; without it a file in ``state``.
    """

    python: Path
    plugin: Path
    state: Path
    threads: int = 0
    extras: frozenset[str] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    warn: Warn = unheard
    lives: Lives = field(default_factory=Unkept)
    log: Path | None = None


class MlserverServer:
    """An `InferenceServer`. Make it inside the event loop that uses it; `close` it when done with it."""

    def __init__(self, config: MlserverConfig) -> None:
        self._extras = config.extras
        self._warn = config.warn
        self._lives = config.lives
        self._versions = Versions(config.python.parent.parent)
        self._settings = settings.KnownSettings()
        self._python = config.python
        self._launched = LaunchedServer(
            "MLServer",
            ServerSockets(config.state, infer=True),
            lambda addresses: _process_spec(config, addresses),
        )
        self._repository = RestRepository(self._launched.addresses.infer)
        self._room = WeighingRoom(
            command=(str(config.python), "-m", "overbook_mlserver.weighing"),
            environment=_environment(config),
            folder=config.state / "weighing",
            log=config.state / "weighing.log",
        )

    @property
    def addresses(self) -> Addresses:
        return self._launched.addresses

    @property
    def pid(self) -> int | None:
        return self._launched.pid

    @property
    def counts_requests(self) -> bool:
        return True

    async def start(self, *, timeout: float) -> None:
        await self._launched.start(timeout=timeout)

    async def stop(self, *, grace: float) -> None:
        await self._launched.stop(grace=grace)

    async def close(self) -> None:
        """Stop at once; its sockets go."""
        await self._room.close()
        await self._launched.close()
        await self._repository.close()

    async def wait_exit(self) -> int:
        return await self._launched.wait_exit()

    async def live(self, *, timeout: float) -> bool:
        return await self._launched.live(timeout=timeout)

    def open_calls(self) -> Calls | None:
        return calls.read(self._launched.shared)

    async def validate(self, model: PreparedModel) -> None:
        self._settings.forget(model)
        await self._settings_of(model)
        overridden = await looked(
            model.name, "its settings", lambda: settings.without_effect(model)
        )
        lacking = await looked(
            model.name,
            requirements.REQUIREMENTS_FILE,
            lambda: settings.check_packages(model, self._python),
        )
        versions = await self._other_versions(model)
        self._warn(model, (*overridden, *(each for each in (lacking, versions) if each)))

    async def _other_versions(self, model: PreparedModel) -> str:
        return await asyncio.to_thread(self._versions.difference, model.artifact)

    async def _settings_of(self, model: PreparedModel) -> Mapping[str, object]:
        if (known := self._settings.find(model)) is not None:
            return known
        made = await looked(
            model.name,
            f"its files for MLServer, such as {settings.SETTINGS_FILE},",
            lambda: settings.server_settings(model, self._extras),
        )
        self._settings.keep(model, made)
        return made

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        settings = await self._settings_of(model)
        try:
            done = await self._repository.load(model.name, settings, timeout=timeout)
        except ModelRejected as error:
            self._settings.forget(model)
            why = await self._explained(model, str(error))
            raise ModelRejected(f"MLServer refused {model.name}: {why}") from error
        if done.left is not None:
            self._lives.ended(model.name, done.left)
        if done.warned:
            self._warn(model, done.warned)

    async def _explained(self, model: PreparedModel, reason: str) -> str:
        """The reason of a failed load, with the versions where those may be why."""
        if _NOT_OF_VERSIONS.search(reason):
            return reason
        versions = await self._other_versions(model)
        return f"{reason}; {versions}" if versions else reason

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        try:
            done = await self._repository.unload(name, measure=measure, timeout=timeout)
        except ModelRejected as error:
            raise ServerUnreachable(f"unload of {name}: {error}") from error
        if done.left is not None:
            self._lives.ended(name, done.left)
        if done.said:
            raise UnloadFailed(done.said)
        return done.gave

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        try:
            await self._repository.settle(name, passed, timeout=timeout)
        except ModelRejected as error:
            raise ServerUnreachable(f"settle of {name}: {error}") from error

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        try:
            return await self._repository.idle(name, passed, timeout=timeout)
        except ModelRejected as error:
            raise ServerUnreachable(f"idle of {name}: {error}") from error

    async def presence(self, name: str, *, timeout: float) -> Presence:
        return await self._launched.client.presence(name, timeout=timeout)

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        return await self._launched.client.index(timeout=timeout)

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return await self._launched.client.metadata(name, timeout=timeout)

    async def configuration(self, name: str, *, timeout: float) -> None:
        """MLServer has no such call."""

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return await looked(model.name, "its metadata", lambda: settings.static_metadata(model))

    async def memory(self) -> ProcessMemory:
        return await self._launched.memory()

    async def model_memory(self, name: str) -> ProcessMemory | None:
        return None

    @property
    def weighs(self) -> bool:
        return True

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        settings = await self._settings_of(model)
        try:
            weight, warned = await self._room.weigh(
                model.name, settings, timeout=timeout, request=request
            )
        except WeighingFailed as error:
            why = await self._explained(model, str(error)) if error.raised else str(error)
            raise WeighingFailed(why, died=error.died, raised=error.raised) from error
        if warned:
            self._warn(model, warned)
        return weight

    async def sample(self, name: str) -> bytes | None:
        return await self._repository.sample(name, timeout=_LOOK_SECONDS)

    async def grown(self, name: str) -> int | None:
        return await self._repository.grown(name, timeout=_LOOK_SECONDS)

    async def borrowed(self) -> int:
        return _PER_BODY_BYTE * await self._repository.bodies(timeout=_LOOK_SECONDS)

    async def metrics(self, *, timeout: float) -> Exposition | None:
        return await self._repository.metrics(timeout=timeout)

    async def wait_lost(self) -> str:
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never


def _process_spec(config: MlserverConfig, addresses: Addresses) -> ProcessSpec:
    folder = config.state / _FOLDER
    return ProcessSpec(
        command=(
            *(str(config.python), "-m", "overbook_mlserver"),
            *("--rest", addresses.rest, "--grpc", addresses.grpc, "--infer", addresses.infer),
            *("--models", str(config.state / "models"), "--state", str(folder)),
        ),
        environment=_environment(config),
        folder=folder,
        log=config.log or config.state / "server.log",
        record=config.state / "server.json",
        shared=calls.BYTES,
    )


def _environment(config: MlserverConfig) -> dict[str, str]:
    environment = tuned(server_environment(os.environ), config.threads)
    made = environment | {
        "PYTHONPATH": str(config.plugin),
        "PYTHONUNBUFFERED": "1",
        # uvloop would have a kernel thread poll beside every event loop, for file calls that nobody makes.
        "UV_USE_IO_URING": "0",
    }
    return {key: value for key, value in (made | dict(config.variables)).items() if value}
