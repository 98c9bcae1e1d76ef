"""What the command line asks of the machine: options as frozen values, and where state lives by default.

Only values live here, so that the command line can import it quickly. Acting on them is `up` and
`serve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from overbook.tls.files import TlsFiles

if TYPE_CHECKING:
    from overbook.client.http import JsonObject

LOOPBACK: Final = "127.0.0.1"
DATA_PORT: Final = 9000
API_PORT: Final = 9001
# How long a request waits for its model unless somebody says otherwise; seconds.
ACTIVATION_TIMEOUT: Final = 60.0
# How long a stop waits for requests that run unless somebody says otherwise; seconds.
GRACE: Final = 30.0
# For how long an inference server that owes answers may give none; seconds.
SILENCE_LIMIT: Final = 90.0
# Of each file of an inference server's log; bytes.
SERVER_LOG_SIZE: Final = 10 * 1024 * 1024


# Processes and connections that fetch models' files at the same time.
FETCHES: Final = 4


def default_state_dir(environment: Mapping[str, str], home: Path) -> Path:
    """`$OVERBOOK_STATE_DIR`, else `$XDG_STATE_HOME/overbook`, else `~/.local/state/overbook`."""
    if own := environment.get("OVERBOOK_STATE_DIR"):
        return Path(own)
    if state := environment.get("XDG_STATE_HOME"):
        return Path(state) / "overbook"
    return home / ".local" / "state" / "overbook"


@dataclass(frozen=True, slots=True)
class ArtifactOptions:
    """Of whatever fetches models' files. ``cache_size``: bytes of them on the disk, None for a share of it.

    ``fetches``: how many processes and connections fetch at a time, ``fetch_rate``: bytes per second of all of them
    together, None for as fast as it goes. ``deny_pickle``: artifacts
    with pickles in them are refused. ``secrets``: a folder of them.
    """

    cache_size: int | None = None
    fetches: int = FETCHES
    fetch_rate: int | None = None
    deny_pickle: bool = False
    secrets: Path | None = None


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Whom the control API lets in. ``allowed_hosts``: what else it may be called; ``cors_origins``: of web pages."""

    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """How much all clients together may take of a gateway (docs/limits.md); None leaves the default.

    `requests_per_second`, `connections`, `waiting` (requests for their models), `waiting_per_model`; `streams` of one
    connection; `memory`: bytes of Envoy's heap. Seconds: `head_time` and `request_time` for a request's headers and all
    of it, `idle_time` of a connection without one, `unread_time` of an answer that its client does not take.
    """

    requests_per_second: int | None = None
    connections: int | None = None
    waiting: int | None = None
    waiting_per_model: int | None = None
    streams: int | None = None
    memory: int | None = None
    head_time: int | None = None
    request_time: int | None = None
    idle_time: int | None = None
    unread_time: int | None = None


@dataclass(frozen=True, slots=True)
class UpOptions:
    """`overbook up`: every part on this machine. Memory in bytes, times in seconds; None leaves the default.

    `documents` are checked manifests with absolute paths: what was wrong with them was said already.
    `insecure`: nobody is asked for a token before there is one, wherever it listens.
    `secrets`: a folder of them. `tls`: of the data plane and the control API; None: both speak plain HTTP.
    """

    state_dir: Path
    documents: tuple[JsonObject, ...] = ()
    memory: int | None = None
    overcommit: int | None = None
    host: str = LOOPBACK
    port: int = DATA_PORT
    api_port: int = API_PORT
    insecure: bool = False
    activation_timeout: float = ACTIVATION_TIMEOUT
    grace: float = GRACE
    silence_limit: float = SILENCE_LIMIT
    server_log_size: int = SERVER_LOG_SIZE
    artifacts: ArtifactOptions = ArtifactOptions()
    limits: LimitOptions = LimitOptions()
    api: ApiOptions = ApiOptions()
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class ServeSchedulerOptions:
    """One scheduler. `listen` is the gRPC target agents and gateways connect to; `grace` is in seconds.

    `tls`: of the control API. `peers`: by which parts know each other at ports.
    """

    state_dir: Path
    host: str
    api_port: int
    listen: str
    grace: float = GRACE
    insecure: bool = False
    api: ApiOptions = ApiOptions()
    tls: TlsFiles | None = None
    peers: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """Where a part that is a process of its own shows its metrics; without a port nowhere."""

    host: str = LOOPBACK
    port: int | None = None


@dataclass(frozen=True, slots=True)
class AttachOptions:
    """An inference server that runs already: host:port of both protocols, and the folder shared with it."""

    rest: str
    grpc: str
    repository: Path


@dataclass(frozen=True, slots=True)
class EnvironmentOptions:
    """Of a server's own environment: packages, a requirements file or an archive; one of the three."""

    packages: tuple[str, ...] = ()
    requirements: Path | None = None
    archive: Path | None = None


@dataclass(frozen=True, slots=True)
class ServeAgentOptions:
    """One agent and its inference server, which it starts unless it is to `attach`. Memory is the budget M in bytes.

    `environment`: packages of its own, None for those of the runtime. `grace`: seconds for which a stop waits for
    requests that run. `silence_limit`: seconds for which that server may give no answer while it owes some.
    `server_log_size`: bytes of each file of its log. `secrets`: a folder of them. `tls`: of the page of metrics.
    `peers`: by which parts know each other at ports.
    """

    state_dir: Path
    scheduler: str
    listen: str
    server: str
    replica: int
    runtime: str
    memory: int
    overcommit: int
    capabilities: tuple[str, ...] = ()
    attach: AttachOptions | None = None
    environment: EnvironmentOptions | None = None
    grace: float = GRACE
    silence_limit: float = SILENCE_LIMIT
    server_log_size: int = SERVER_LOG_SIZE
    artifacts: ArtifactOptions = ArtifactOptions()
    metrics: MetricsOptions = MetricsOptions()
    tls: TlsFiles | None = None
    peers: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class ServeGatewayOptions:
    """One gateway: Envoy on host and port, its controller, and the scheduler they follow.

    `activation_timeout`: seconds that a request waits for its model, where the model does not say. `tls`: of the data
    plane and the page of metrics. `peers`: by which parts know each other at ports.
    """

    state_dir: Path
    scheduler: str
    host: str
    port: int
    activation_timeout: float = ACTIVATION_TIMEOUT
    grace: float = GRACE
    insecure: bool = False
    metrics: MetricsOptions = MetricsOptions()
    limits: LimitOptions = LimitOptions()
    tls: TlsFiles | None = None
    peers: TlsFiles | None = None
