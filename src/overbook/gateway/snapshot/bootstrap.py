"""Pure: the document Envoy is started with: its listeners, its fixed clusters, where its xDS server is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from overbook.gateway.snapshot import names, refusals
from overbook.gateway.snapshot.clusters import NO_LIMIT
from overbook.gateway.snapshot.data_listener import Door, data_listener
from overbook.gateway.snapshot.edge import EdgeLimits, overload_manager, runtime
from overbook.gateway.snapshot.listeners import (
    COLD_ADDRESS,
    LARGE_ADDRESS,
    cold_listener,
    inner_listener,
    large_listener,
)
from overbook.gateway.snapshot.refusals import REFUSING, refusing_listener
from overbook.gateway.snapshot.route_parts import Json
from overbook.gateway.snapshot.routes import Scripts

# Each question that waits has a connection: after a storm there are thousands, which nobody needs.
_IDLE_SECONDS: Final = 10
# The kernel lets so many questions wait to be heard at each of their sockets, 4,096 at most; a few of them hold what a
# gateway may have to wait for. More would be more connections where few are needed.
_QUESTION_SOCKETS: Final = 4
_INTERNAL: Final = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class Sockets:
    """The gateway's Unix sockets, all in one folder. At most 107 bytes each: see `in_folder`."""

    admin: Path
    control: Path
    questions: tuple[Path, ...]
    inner: Path
    oip_rest: Path
    oip_grpc: Path

    @staticmethod
    def in_folder(folder: Path) -> Sockets:
        """Raises ValueError when a path would be too long for a Unix socket."""

        def path(name: str) -> Path:
            return folder / f"gw-{name}.sock"

        sockets = Sockets(
            admin=path("admin"),
            control=path("control"),
            questions=tuple(path(f"questions-{n}") for n in range(_QUESTION_SOCKETS)),
            inner=path("inner"),
            oip_rest=path("oip-rest"),
            oip_grpc=path("oip-grpc"),
        )
        longest = max(len(str(each).encode()) for each in (sockets.inner, *sockets.questions))
        if longest > 107:
            raise ValueError(
                f"run folder {str(folder)!r}: a socket's path would be {longest} bytes, at most 107 "
                "are possible; choose a shorter folder"
            )
        return sockets


def document(
    *,
    door: Door,
    sockets: Sockets,
    scripts: Scripts,
    limits: EdgeLimits,
    request_log: str,
) -> Json:
    """The whole bootstrap as a JSON-like document. ``request_log``: the file for requests that failed."""
    ads: Json = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": names.CLUSTER_CONTROL}}],
    }
    return {
        "node": {"id": "overbook", "cluster": "overbook"},
        "admin": {"address": _pipe(sockets.admin, mode=0o600)},
        "overload_manager": overload_manager(limits),
        "layered_runtime": runtime(names.EDGE, limits),
        "bootstrap_extensions": [
            {
                "name": "envoy.bootstrap.internal_listener",
                "typed_config": {"@type": f"type.googleapis.com/{_INTERNAL}"},
            }
        ],
        # A statistic that nobody reads costs memory in every one of thousands of clusters.
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"safe_regex": {"regex": names.PLACE_STATS_REGEX}},
                        {"safe_regex": {"regex": names.EDGE_STATS_REGEX}},
                        {"prefix": "listener_manager.listener_create"},
                        {"exact": "cluster_manager.active_clusters"},
                        {"prefix": "server."},
                    ]
                }
            }
        },
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "dynamic_resources": {
            "ads_config": ads,
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "listeners": [
                data_listener(door, request_log, limits),
                inner_listener(str(sockets.inner), scripts),
                cold_listener(scripts),
                large_listener(scripts),
                *map(refusing_listener, REFUSING),
            ],
            "clusters": _clusters(sockets),
        },
    }


def _clusters(sockets: Sockets) -> list[Json]:
    """Those that never change."""
    return [
        _cluster(names.CLUSTER_CONTROL, _pipe(sockets.control), http2=True),
        _cluster(
            names.CLUSTER_QUESTIONS,
            *map(_pipe, sockets.questions),
            http2=False,
            idle_seconds=_IDLE_SECONDS,
        ),
        # What our own listeners answer is final, a 404 too: no retries there.
        _cluster(names.CLUSTER_OIP_REST, _pipe(sockets.oip_rest), http2=False, retries=0),
        _cluster(names.CLUSTER_OIP_GRPC, _pipe(sockets.oip_grpc), http2=True),
        _cluster(names.CLUSTER_COLD_REST, COLD_ADDRESS, http2=False, retries=0),
        _cluster(names.CLUSTER_LARGE_REST, LARGE_ADDRESS, http2=False, retries=0),
        _cluster(names.CLUSTER_COLD_GRPC, COLD_ADDRESS, http2=True, retries=0),
        *map(_to_refusing, REFUSING),
    ]


def _to_refusing(name: str) -> Json:
    return _cluster(name, refusals.address(name), http2=True, retries=0)


def _pipe(path: Path, mode: int = 0) -> Json:
    return {"pipe": {"path": str(path), "mode": mode}}


def _cluster(
    name: str, *addresses: Json, http2: bool, retries: int = NO_LIMIT, idle_seconds: int = 3600
) -> Json:
    window: Json = {
        "initial_stream_window_size": 16 * 1024 * 1024,
        "initial_connection_window_size": 64 * 1024 * 1024,
    }
    explicit: Json = {"http2_protocol_options": window} if http2 else {"http_protocol_options": {}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": NO_LIMIT,
                    "max_pending_requests": NO_LIMIT,
                    "max_requests": NO_LIMIT,
                    "max_retries": retries,
                }
            ]
        },
        "typed_extension_protocol_options": {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "common_http_protocol_options": {"idle_timeout": f"{idle_seconds}s"},
                "explicit_http_config": explicit,
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}
            ],
        },
    }
