"""Which adapter serves which kind of server (`runtimes.server_kinds`). The only place that knows them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypedDict

from overbook.agent.servers.attached.connection import Attachment
from overbook.agent.servers.attached.kinds import AttachedKind, AttachedMlserver, AttachedTriton
from overbook.agent.servers.attached.server import AttachedServer
from overbook.agent.servers.mlserver import settings as mlserver_settings
from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer
from overbook.agent.servers.protocol import (
    InferenceServer,
    Lives,
    PreparedModel,
    Unkept,
    Warn,
    unheard,
)
from overbook.agent.servers.triton import config as triton_config
from overbook.agent.servers.triton import ensembles, sequences
from overbook.agent.servers.triton import layout as triton_layout
from overbook.agent.servers.triton.server import TritonConfig, TritonServer
from overbook.runtimes.catalogue import UnknownRuntime
from overbook.runtimes.install import RuntimeEnvironment


class _Told(TypedDict):
    """What every server that is started here is told."""

    python: Path
    plugin: Path
    state: Path
    log: Path
    extras: frozenset[str]
    warn: Warn
    lives: Lives


LAUNCHED: Final[Mapping[str, Callable[[_Told], InferenceServer]]] = {
    "mlserver": lambda told: MlserverServer(MlserverConfig(**told)),
    "triton": lambda told: TritonServer(TritonConfig(**told)),
}
ATTACHED: Final[Mapping[str, Callable[[], AttachedKind]]] = {
    "mlserver": AttachedMlserver,
    "triton": AttachedTriton,
}


# Whether files could be loaded by a server of this kind, whatever is installed: raises ModelRejected with one line.
CHECKS: Final[Mapping[str, Callable[[PreparedModel], object]]] = {
    "mlserver": mlserver_settings.server_settings,
    "triton": triton_config.validate,
}

# The requirement that names what the files are, "" where a server of this kind needs none: its own files say it.
WORDS: Final[Mapping[str, Callable[[PreparedModel], str]]] = {
    "mlserver": mlserver_settings.word,
    "triton": triton_layout.word,
}


def make_server(
    installed: RuntimeEnvironment,
    folder: Path,
    warn: Warn = unheard,
    lives: Lives | None = None,
    *,
    log: Path | None = None,
) -> InferenceServer:
    """The server of one replica, not started; ``folder`` is its own. ``warn``: is told what may be wrong with models,
    ``lives``: of their metrics.

    ``log``: the file that it appends to, which may be another's too; without it one in the folder.
    Raises UnknownRuntime.
    """
    if installed.name not in LAUNCHED:
        raise UnknownRuntime(_unknown(installed.name, "started", LAUNCHED))
    told: _Told = {
        "python": installed.python,
        "plugin": installed.plugin,
        "state": folder,
        "log": log or folder / "server.log",
        "extras": installed.extras,
        "warn": warn,
        "lives": lives or Unkept(),
    }
    return LAUNCHED[installed.name](told)


def attach(runtime: str, attachment: Attachment, on_foreign: Callable[[], None]) -> AttachedServer:
    """A server that somebody else started, not connected yet; see `AttachedServer`. Raises UnknownRuntime."""
    if runtime not in ATTACHED:
        raise UnknownRuntime(_unknown(runtime, "attached", ATTACHED))
    return AttachedServer(attachment, ATTACHED[runtime](), on_foreign)


def callees(artifact: Path) -> tuple[str, ...]:
    """Names of the models that the one in this folder calls, where its files say so. Blocking."""
    return ensembles.callees(artifact)


def sequence_idle(artifact: Path) -> float:
    """Seconds for which the model in this folder keeps a sequence's state between requests. Blocking; may raise."""
    return sequences.sequence_idle(artifact)


def _unknown(runtime: str, what: str, known: Mapping[str, object]) -> str:
    return f"runtime {runtime!r} cannot be {what}; expected one of: {', '.join(sorted(known))}"
