"""What `up` and `serve` say at their start: what runs, where it listens, and where its state and log are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from overbook import __version__
from overbook.machine.options import (
    MetricsOptions,
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
    UpOptions,
)
from overbook.manifests.quantities import format_bytes
from overbook.runtimes.install import RuntimeInfo
from overbook.tls.files import TlsFiles

_LABEL: Final = 13


def up_lines(options: UpOptions, log: Path, runtimes: Iterable[RuntimeInfo]) -> list[str]:
    api = _url(options.host, options.api_port, options.tls)
    return _lines(
        "scheduler, gateway and agents in one process",
        ("data plane", _data_plane(options.host, options.port, options.tls)),
        ("control API", f"{api}  (described at {api}/docs)"),
        ("metrics", f"{api}/metrics"),
        *_certificate(options.tls),
        ("runtimes", _installed(runtimes)),
        ("state", str(options.state_dir)),
        ("log", f"{log}  (of inference servers: overbook logs SERVER)"),
    )


def scheduler_lines(options: ServeSchedulerOptions, log: Path) -> list[str]:
    api = _url(options.host, options.api_port, options.tls)
    return _lines(
        "scheduler",
        ("control API", f"{api}  (described at {api}/docs)"),
        ("metrics", f"{api}/metrics"),
        *_certificate(options.tls),
        ("gRPC", f"{options.listen}  (for agents and gateways)"),
        ("state", str(options.state_dir)),
        ("log", str(log)),
    )


def agent_lines(options: ServeAgentOptions, log: Path) -> list[str]:
    if options.attach is None:
        runs = f"{options.runtime}, started here"
    else:
        runs = f"{options.runtime} at {options.attach.rest}, started by somebody else"
    return _lines(
        f"agent of {options.server}/{options.replica}",
        ("server", f"{runs}; {format_bytes(options.memory)} for models"),
        ("gRPC", f"{options.listen}  (for gateways)"),
        ("scheduler", options.scheduler),
        ("metrics", _metrics(options.metrics, options.tls)),
        ("state", str(options.state_dir)),
        ("log", f"{log}  (of the server: overbook logs {options.server}/{options.replica})"),
    )


def gateway_lines(options: ServeGatewayOptions, log: Path) -> list[str]:
    return _lines(
        "gateway",
        ("data plane", _data_plane(options.host, options.port, options.tls)),
        *_certificate(options.tls),
        ("scheduler", options.scheduler),
        ("metrics", _metrics(options.metrics, options.tls)),
        ("state", str(options.state_dir)),
        ("log", str(log)),
    )


def dialled(host: str) -> str:
    """The address to connect to a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


def _lines(what: str, *facts: tuple[str, str]) -> list[str]:
    return [
        f"Overbook {__version__}: {what}",
        *(f"  {label:<{_LABEL - 1}} {text}" for label, text in facts),
    ]


def _data_plane(host: str, port: int, tls: TlsFiles | None) -> str:
    return f"{_url(host, port, tls)}  (REST; gRPC at {dialled(host)}:{port})"


def _url(host: str, port: int, tls: TlsFiles | None = None) -> str:
    return f"{'http' if tls is None else 'https'}://{dialled(host)}:{port}"


def _certificate(tls: TlsFiles | None) -> list[tuple[str, str]]:
    if tls is None:
        return []
    asked = "" if tls.client_ca is None else f"  (clients show one of {tls.client_ca})"
    return [("certificate", f"{tls.certificate}{asked}")]


def _metrics(options: MetricsOptions, tls: TlsFiles | None) -> str:
    if options.port is None:
        return "not served; --metrics-port serves them"
    return f"{_url(options.host, options.port, tls)}/metrics"


def _installed(runtimes: Iterable[RuntimeInfo]) -> str:
    """`mlserver 1.7.1 (onnx, lightgbm), triton (nvidia-pytriton 0.7.0)`: names, versions, extras."""
    found = [_named(each.name, each.packages, each.extras) for each in runtimes if each.installed]
    return ", ".join(found) or "none installed yet; what a Server needs is installed by itself"


def _named(name: str, packages: Sequence[str], extras: Sequence[str]) -> str:
    own = next((each.partition("==")[2] for each in packages if each.startswith(f"{name}==")), "")
    version = f" {own}" if own else ""
    inside = [*(packages[:1] if not own else []), *extras]
    return f"{name}{version}" + (f" ({', '.join(inside)})" if inside else "").replace("==", " ")
