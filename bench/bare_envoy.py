"""What the gateway is compared with: the same Envoy with one static route and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.processes import child, free_ports, listens, wait_until
from overbook.gateway.envoy import find_program
from overbook.gateway.snapshot.route_parts import Json

_HTTP: Final = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ROUTER: Final = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


@dataclass(frozen=True, slots=True)
class BareEnvoy:
    """``pid``: its process; ``port``: where it listens on 127.0.0.1."""

    pid: int
    port: int


@contextlib.contextmanager
def running_bare_envoy(
    folder: Path, upstream_port: int, *, http2: bool = False
) -> Iterator[BareEnvoy]:
    """With as many worker threads as the gateway's Envoy has. ``http2``: what the upstream speaks."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    config = folder / "envoy.json"
    config.write_text(json.dumps(_document(port, upstream_port, http2=http2)))
    command = [
        *(str(find_program()), "-c", str(config), "--concurrency", str(os.cpu_count() or 1)),
        *("--disable-hot-restart", "--log-level", "error"),
    ]
    with child(command, folder / "envoy.log") as process:
        wait_until("the bare Envoy listens", lambda: listens(port), seconds=30)
        yield BareEnvoy(process.pid, port)


def _document(port: int, upstream_port: int, *, http2: bool) -> Json:
    manager: Json = {
        "@type": _HTTP,
        "stat_prefix": "bare",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
                }
            ]
        },
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    listener: Json = {
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    endpoint: Json = {"endpoint": {"address": _address(upstream_port)}}
    cluster: dict[str, Json] = {
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    if http2:
        cluster["typed_extension_protocol_options"] = {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
