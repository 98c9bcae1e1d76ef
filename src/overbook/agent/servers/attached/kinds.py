"""What an agent must know of a kind of inference server to use one that somebody else started.

How a model's folder looks in its repository, and whether it may be told to load. The formats themselves are in
`mlserver.settings` and `triton.config`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import psutil

from overbook.agent.servers.attached.folder import SharedFolder
from overbook.agent.servers.launched.process import tree_memory
from overbook.agent.servers.mlserver.settings import (
    SETTINGS_FILE,
    find_layout,
    server_settings,
)
from overbook.agent.servers.mlserver.settings import static_metadata as mlserver_metadata
from overbook.agent.servers.protocol import (
    Configuration,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
)
from overbook.agent.servers.triton import config

_OURS: Final = "overbook_mlserver."
_STUB: Final = "triton_python_backend_stub"
_NOBODY: Final = "overbook-asks-for-the-control-mode"
_NOT_EXPLICIT: Final = "explicit model load / unload is not allowed"


class Control(Protocol):
    """What is asked of a server that is attached: see `oip.OipClient`."""

    async def live_rest(self, *, timeout: float) -> bool: ...

    async def live_grpc(self, *, timeout: float) -> bool: ...

    async def load(self, name: str, *, timeout: float) -> None: ...

    async def unload(self, name: str, *, timeout: float) -> bool: ...

    async def index(self, *, timeout: float) -> Mapping[str, Presence]: ...

    async def index_states(self, *, timeout: float) -> Mapping[str, str]: ...

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]: ...

    async def configuration(self, name: str, *, timeout: float) -> Configuration: ...

    async def close(self) -> None: ...


class AttachedKind(Protocol):
    """A kind of server. ``command``: what its processes' command lines have in them."""

    @property
    def name(self) -> str: ...

    @property
    def command(self) -> str: ...

    async def check(self, client: Control, *, timeout: float) -> None:
        """Whether it does as it is told. Raises ServerStartFailed, ServerUnreachable."""
        ...

    def validate(self, model: PreparedModel) -> None:
        """Raises ModelRejected with one line."""
        ...

    def publish(self, model: PreparedModel, folder: SharedFolder) -> None:
        """Copies the model's files into the folder. Blocks. Raises ModelRejected."""
        ...

    def static_metadata(self, model: PreparedModel) -> Mapping[str, object]: ...

    async def configuration(
        self, client: Control, name: str, *, timeout: float
    ) -> Configuration | None:
        """None where the server has no such call. Raises ModelRejected, ServerUnreachable."""
        ...

    def model_memory(self, pid: int, name: str) -> ProcessMemory | None:
        """Of one model, where it has processes of its own; None where it shares the server's. Blocks."""
        ...


class AttachedMlserver:
    """MLServer as it comes: it has none of Overbook's own classes, and settings lead to files beside them."""

    name: Final = "MLServer"
    command: Final = "mlserver"

    async def check(self, client: Control, *, timeout: float) -> None:
        """MLServer has no mode in which it refuses to load."""

    def validate(self, model: PreparedModel) -> None:
        _portable_settings(model)

    def publish(self, model: PreparedModel, folder: SharedFolder) -> None:
        source, settings = _portable_settings(model)
        files = folder.temporary()
        shutil.copytree(
            source,
            files,
            # Whatever has settings below the folder would be a model of its own to MLServer.
            ignore=shutil.ignore_patterns(SETTINGS_FILE),
            copy_function=shutil.copyfile,
        )
        path = files / SETTINGS_FILE
        path.write_text(json.dumps(settings), encoding="utf-8")
        make_readable(files)
        folder.swap_in(model.name, files)

    def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return mlserver_metadata(model)

    async def configuration(self, client: Control, name: str, *, timeout: float) -> None:
        """MLServer has no such call."""

    def model_memory(self, pid: int, name: str) -> ProcessMemory | None:
        return None


class AttachedTriton:
    """Any Triton in explicit model control: NVIDIA's with its native backends, or one from PyPI."""

    name: Final = "Triton"
    command: Final = "tritonserver"

    async def check(self, client: Control, *, timeout: float) -> None:
        """Asks it to unload what cannot be there: in the other modes it refuses even that."""
        try:
            await client.unload(_NOBODY, timeout=timeout)
        except (ModelRejected, ServerUnreachable) as error:
            if _NOT_EXPLICIT in str(error):
                raise ServerStartFailed(
                    "Triton does not load and unload as it is told; start it with --model-control-mode=explicit, "
                    f"and with --load-model=NAME for what it is to load by itself (it said: {error})"
                ) from error
            if isinstance(error, ServerUnreachable):
                raise

    def validate(self, model: PreparedModel) -> None:
        config.validate(model)

    def publish(self, model: PreparedModel, folder: SharedFolder) -> None:
        config.publish(model, folder.path, copy=True)
        make_readable(folder.path / model.name)

    def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        return config.static_metadata(model)

    async def configuration(self, client: Control, name: str, *, timeout: float) -> Configuration:
        return await client.configuration(name, timeout=timeout)

    def model_memory(self, pid: int, name: str) -> ProcessMemory | None:
        """Its Python backend's processes say in their command line which model's folder is theirs."""
        try:
            children = psutil.Process(pid).children()
        except psutil.NoSuchProcess:
            return None
        parts = [tree_memory(each.pid, libraries=False) for each in children if _serves(each, name)]
        if not parts:
            return None
        return ProcessMemory(
            bytes=sum(each.bytes for each in parts), processes=sum(each.processes for each in parts)
        )


def _serves(process: psutil.Process, name: str) -> bool:
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return len(command) > 1 and _STUB in command[0] and name in Path(command[1]).parts


def _portable_settings(model: PreparedModel) -> tuple[Path, dict[str, object]]:
    """The folder to copy, and settings that hold wherever the server sees the copy. Raises ModelRejected."""
    settings = server_settings(model)
    source = find_layout(model).folder
    del settings["overbook"]
    implementation = str(settings["implementation"])
    if implementation.startswith(_OURS):
        raise ModelRejected(
            f"model {model.name}: its class {implementation} is part of Overbook's own MLServer, not of an attached "
            "one; use a Server without address, or a model-settings.json with a class that server has"
        )
    parameters = settings.get("parameters")
    if not isinstance(parameters, dict):
        raise TypeError(f"settings of {model.name} without parameters")
    uri = str(parameters["uri"])
    if uri.startswith("/"):
        relative = os.path.relpath(uri, source)
        if relative.startswith(".."):
            raise ModelRejected(
                f"model {model.name}: parameters.uri leads out of the folder with model-settings.json; "
                "expected a path below it, as an attached server is given that folder only"
            )
        settings["parameters"] = {**parameters, "uri": f"./{relative}"}
    return source, settings


def make_readable(root: Path) -> None:
    """For whichever user the server runs as, in a container perhaps."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
