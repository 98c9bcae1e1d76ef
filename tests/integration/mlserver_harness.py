"""A real MLServer: what the tests of it share."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer
from overbook.runtimes.install import RuntimeEnvironment, environment, install

EXTRAS = frozenset({"xgboost", "lightgbm", "catboost", "mlflow"})


def runtime() -> RuntimeEnvironment:
    """Installed once per machine, with its default extras at least."""
    install("mlserver", lambda _message, _fraction: None)
    return environment("mlserver")


def with_all_extras(runtimes: Path) -> RuntimeEnvironment:
    """Installed there, and not where people keep theirs: what `overbook up` installs by itself must not depend on who
    ran the tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERBOOK_RUNTIMES_DIR", str(runtimes))
        install("mlserver", lambda _message, _fraction: None, extras=EXTRAS)
        return environment("mlserver")


def server(state: Path, made: RuntimeEnvironment | None = None) -> MlserverServer:
    """Of the shared environment, or of another."""
    made = made or runtime()
    return MlserverServer(
        MlserverConfig(python=made.python, plugin=made.plugin, state=state, extras=made.extras)
    )


def own_bytes(pid: int | None) -> int:
    """What the process has that is in no file: pages of files become its own when others that had them mapped end."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [each for each in status.splitlines() if each.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024
