"""The adapter to MLServer: one process, models of one generation each under one name without a version.

What MLServer does and why the launcher differs from its own is written beside the code that runs inside
it (`overbook/runtimes/mlserver/plugin`). Here is the outside: process, folders, calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.agent.servers import mlserver_models
from overbook.agent.servers.oip import OipClient
from overbook.agent.servers.ports import GuardedPort
from overbook.agent.servers.process import ProcessSpec, ServerProcess, server_environment
from overbook.agent.servers.protocol import (
    Addresses,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
)

_POLL_SECONDS: Final = 0.05
_PROBE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class MlserverConfig:
    """Where MLServer is installed and where this one server replica keeps its things.

    ``python``: of the runtime's environment. ``plugin``: the folder with the launcher package.
    ``state``: private to this replica; gets ``models/``, ``server/``, ``server.json``, ``server.log``.
    ``threads``: for OpenMP and BLAS inside one prediction; 0 means half of the machine's.
    ``extras``: those of the runtime that are installed; None when that is not known.
    """

    python: Path
    plugin: Path
    state: Path
    host: str = "127.0.0.1"
    threads: int = 0
    extras: frozenset[str] | None = None


class MlserverServer:
    """An `InferenceServer`. Make it inside the event loop that uses it; `close` it when done with it."""

    def __init__(self, config: MlserverConfig) -> None:
        self._rest_port = GuardedPort(config.host)
        self._grpc_port = GuardedPort(config.host)
        self._infer_port = GuardedPort(config.host)
        self._addresses = Addresses(
            rest=f"{config.host}:{self._rest_port.number}",
            grpc=f"{config.host}:{self._grpc_port.number}",
            infer=f"{config.host}:{self._infer_port.number}",
        )
        self._models = config.state / "models"
        self._extras = config.extras
        self._python = config.python
        self._process = ServerProcess(_process_spec(config, self._addresses))
        self._client: OipClient | None = None

    @property
    def addresses(self) -> Addresses:
        return self._addresses

    @property
    def pid(self) -> int | None:
        return self._process.pid

    async def start(self, *, timeout: float) -> None:
        await self._disconnect()
        # An empty server has no models' folders; what a crash left must not be loaded by name.
        await asyncio.to_thread(_emptied, self._models)
        await self._process.start()
        client = OipClient(self._addresses)
        try:
            await asyncio.wait_for(self._until_live(client), timeout)
        except TimeoutError:
            reason = f"not live after {timeout:g} s; its log ends: {self._process.log_tail()}"
            await self._give_up(client)
            raise ServerStartFailed(f"MLServer: {reason}") from None
        except BaseException:
            await self._give_up(client)
            raise
        self._client = client

    async def stop(self, *, grace: float) -> None:
        await self._disconnect()
        await self._process.stop(grace=grace)

    async def close(self) -> None:
        """Stop at once and let go of the ports."""
        await self.stop(grace=0)
        self._rest_port.close()
        self._grpc_port.close()
        self._infer_port.close()

    async def wait_exit(self) -> int:
        return await self._process.wait_exit()

    async def live(self, *, timeout: float) -> bool:
        client = self._client
        return client is not None and await client.live_rest(timeout=timeout)

    def validate(self, model: PreparedModel) -> None:
        mlserver_models.server_settings(model, self._extras)
        mlserver_models.check_packages(model, self._python)

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        client = self._connected()
        settings = mlserver_models.server_settings(model, self._extras)
        try:
            _write_settings(self._models / model.name, settings)
        except OSError as error:
            raise ModelRejected(
                f"model {model.name}: cannot write its settings: {error}"
            ) from error
        try:
            await client.load(model.name, timeout=timeout)
        except ModelRejected as error:
            raise ModelRejected(f"MLServer refused {model.name}: {error}") from error

    async def unload(self, name: str, *, timeout: float) -> None:
        try:
            await self._connected().unload(name, timeout=timeout)
        except ModelRejected as error:
            raise ServerUnreachable(f"unload of {name}: {error}") from error
        _remove_settings(self._models / name)

    async def presence(self, name: str, *, timeout: float) -> Presence:
        return await self._connected().presence(name, timeout=timeout)

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        return await self._connected().index(timeout=timeout)

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        return await self._connected().metadata(name, timeout=timeout)

    def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return mlserver_models.static_metadata(model)

    async def memory(self) -> ProcessMemory:
        return await self._process.memory()

    async def model_memory(self, name: str) -> ProcessMemory | None:
        return None

    def _connected(self) -> OipClient:
        if self._client is None or self._process.pid is None:
            raise ServerUnreachable("MLServer is not running")
        return self._client

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _give_up(self, client: OipClient) -> None:
        await client.close()
        await self._process.stop(grace=0)

    async def _until_live(self, client: OipClient) -> None:
        rest = grpc = False
        while not (rest and grpc):
            if self._process.pid is None:
                raise ServerStartFailed(
                    f"MLServer ended with code {self._process.exit_code} while it started; "
                    f"its log ends: {self._process.log_tail()}"
                )
            rest = rest or await client.live_rest(timeout=_PROBE_SECONDS)
            grpc = rest and await client.live_grpc(timeout=_PROBE_SECONDS)
            if not (rest and grpc):
                await asyncio.sleep(_POLL_SECONDS)


def _process_spec(config: MlserverConfig, addresses: Addresses) -> ProcessSpec:
    folder = config.state / "server"
    rest, grpc, infer = (
        address.rpartition(":")[2] for address in (addresses.rest, addresses.grpc, addresses.infer)
    )
    return ProcessSpec(
        command=(
            *(str(config.python), "-m", "overbook_mlserver", "--host", config.host),
            *("--rest-port", rest, "--grpc-port", grpc, "--gateway-port", infer),
            *("--models", str(config.state / "models"), "--state", str(folder)),
        ),
        environment=_environment(config),
        folder=folder,
        log=config.state / "server.log",
        record=config.state / "server.json",
    )


def _environment(config: MlserverConfig) -> dict[str, str]:
    # MLServer reads MLSERVER_* of its own accord, also as defaults of every model.
    environment = server_environment(os.environ, drop=("MLSERVER_",))
    threads = str(config.threads or max(1, (os.cpu_count() or 2) // 2))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(variable, threads)
    # Threads that spin after a prediction take the CPU from the next model's.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment | {
        "PYTHONPATH": str(config.plugin),
        "PYTHONUNBUFFERED": "1",
        # uvloop would have a kernel thread poll beside every event loop, for file calls that nobody makes.
        "UV_USE_IO_URING": "0",
        # With these two glibc gives the memory of an unloaded model back to the kernel.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def _write_settings(folder: Path, settings: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / mlserver_models.SETTINGS_FILE
    temporary = folder / f".{uuid.uuid4().hex}"
    temporary.write_text(json.dumps(settings), encoding="utf-8")
    temporary.replace(path)


def _remove_settings(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
