"""Which adapter serves which runtime. The only place that knows them all."""

from __future__ import annotations

from pathlib import Path

from overbook.agent.servers.mlserver import MlserverConfig, MlserverServer
from overbook.runtimes.install import environment


def make_server(runtime: str, folder: Path) -> MlserverServer:
    """The server of one replica, not started; ``folder`` is its own. Raises UnknownRuntime, RuntimeInstallError."""
    installed = environment(runtime)
    return MlserverServer(
        MlserverConfig(
            python=installed.python,
            plugin=installed.plugin,
            state=folder,
            extras=installed.extras,
        )
    )
