"""Which adapter serves which runtime. The only place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from overbook.agent.servers.attached.kinds import AttachedMlserver, AttachedTriton, Kind
from overbook.agent.servers.attached.server import AttachedServer, Attachment
from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer
from overbook.agent.servers.protocol import InferenceServer
from overbook.agent.servers.triton.server import TritonConfig, TritonServer
from overbook.runtimes.install import UnknownRuntime, environment


def make_server(runtime: str, folder: Path) -> InferenceServer:
    """The server of one replica, not started; ``folder`` is its own. Raises UnknownRuntime, RuntimeInstallError."""
    installed = environment(runtime)
    if runtime == "triton":
        return TritonServer(
            TritonConfig(
                python=installed.python,
                plugin=installed.plugin,
                state=folder,
                extras=installed.extras,
            )
        )
    return MlserverServer(
        MlserverConfig(
            python=installed.python,
            plugin=installed.plugin,
            state=folder,
            extras=installed.extras,
        )
    )


def attach(runtime: str, attachment: Attachment, on_foreign: Callable[[], None]) -> AttachedServer:
    """A server that somebody else started, not connected yet; see `AttachedServer`. Raises UnknownRuntime."""
    kinds: dict[str, Kind] = {"mlserver": AttachedMlserver(), "triton": AttachedTriton()}
    if runtime not in kinds:
        known = ", ".join(sorted(kinds))
        raise UnknownRuntime(f"runtime {runtime!r} cannot be attached; expected one of: {known}")
    return AttachedServer(attachment, kinds[runtime], on_foreign)
