"""Pure: the clusters that come and go with residency, as serialisable messages.

A place's cluster has the inference server at priority 0 and the gateway's own cold listener at
priority 1: a retry goes to the next priority, so a request that met an evicted model or a dead
server is re-activated. A template per kind of endpoint is built once; one more cluster is a copy with a name
and an address, so a change costs the same however many models are hot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import address_pb2, protocol_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from overbook.gateway.snapshot.names import (
    COLD_LISTENER,
    Protocol,
    own_cluster,
    place_cluster,
    stat_name,
)
from overbook.manifests.names import MAX_NAME

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# As gRPC writes the address of a Unix socket.
_UNIX: Final = "unix:"
_CONNECT_SECONDS: Final = 2
# Shorter than the 5 s after which an unknown server may hang up: else requests meet closing connections.
_SHORT_IDLE_SECONDS: Final = 4
_LONG_IDLE_SECONDS: Final = 30
# Stands for the model in lua/unanswered.lua; longer than any name.
_ASKED: Final = b"." * (MAX_NAME + 1)
# Far above anything real: queues are bounded by the agent, not here.
NO_LIMIT: Final = 1_000_000
# A name of statistics that are not kept.
_UNCOUNTED: Final = "own-withdrawn"
_H2_WINDOW: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how an inference server is asked. ``address``: "unix:/path" or "host:port".

    ``http2``: what it speaks, else HTTP/1.1, in which gRPC has its status in trailers.
    ``keeps_connections``: it never closes an idle connection before Envoy does.
    ``marks_unanswered``: it marks answers that no model gave, so that nobody has to look for its words.
    """

    address: str
    http2: bool
    keeps_connections: bool
    marks_unanswered: bool = False


@dataclass(frozen=True, slots=True)
class Fallback:
    """What happens with requests that failed at a place, before they go to the cold listener.

    ``unanswered``: the script that marks answers which no model gave, see lua/unanswered.lua.
    """

    unanswered: str = ""


def place(*, name: str, model: str, endpoint: Endpoint, fallback: Fallback) -> cluster_pb2.Cluster:
    """The cluster of one place. Raises ValueError when the endpoint's address is none."""
    idle = _LONG_IDLE_SECONDS if endpoint.keeps_connections else _SHORT_IDLE_SECONDS
    cluster = cluster_pb2.Cluster()
    script = "" if endpoint.marks_unanswered else fallback.unanswered
    cluster.CopyFrom(_template(endpoint.http2, idle, script))
    if script:
        # In place, as it has the same length: to make all of it for every place takes ten times as long.
        named = model.encode().ljust(len(_ASKED))
        options = cluster.typed_extension_protocol_options[HTTP_OPTIONS]
        options.value = options.value.replace(_ASKED, named)
    cluster.name = name
    if (counted := stat_name(name)) != name:
        cluster.alt_stat_name = counted
    cluster.load_assignment.cluster_name = name
    server = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint
    _put_address(server.address, endpoint.address)
    return cluster


def _put_address(into: address_pb2.Address, address: str) -> None:
    path = address.removeprefix(_UNIX)
    if path != address:
        into.pipe.path = path
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"address {address!r}: expected unix:/path or host:port")
    into.socket_address.address = host.strip("[]")
    into.socket_address.port_value = int(port)


def mark(name: str) -> cluster_pb2.Cluster:
    """A cluster without endpoints, whose mere existence tells the Lua script something."""
    return cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.STATIC,
        connect_timeout=Duration(seconds=_CONNECT_SECONDS),
    )


def own(*, model: str, endpoint: Endpoint, fallback: Fallback) -> cluster_pb2.Cluster:
    """Where a model's own route leads while direct traffic may go to its slot 0, whose statistics count it."""
    cluster = place(name=own_cluster(model), model=model, endpoint=endpoint, fallback=fallback)
    cluster.alt_stat_name = stat_name(place_cluster(Protocol.REST, model, 0))
    return cluster


def own_withdrawn(*, model: str, fallback: Fallback) -> cluster_pb2.Cluster:
    """Where it leads while that may not be. Who waits in the cold listener is not in flight at the place."""
    cluster = inside(own_cluster(model), COLD_LISTENER)
    cluster.alt_stat_name = _UNCOUNTED
    return cluster


def inside(name: str, listener: str) -> cluster_pb2.Cluster:
    """A cluster that leads to a listener inside Envoy."""
    cluster = mark(name)
    limits = _limits()
    # As for all requests that come to our own listeners: what these answer is final.
    limits.max_retries.value = 0
    cluster.circuit_breakers.thresholds.append(limits)
    cluster.load_assignment.cluster_name = name
    _add_internal(cluster, listener, priority=0)
    return cluster


def _limits() -> circuit_breaker_pb2.CircuitBreakers.Thresholds:
    limits = circuit_breaker_pb2.CircuitBreakers.Thresholds()
    for field in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        getattr(limits, field).CopyFrom(UInt32Value(value=NO_LIMIT))
    return limits


def _add_internal(cluster: cluster_pb2.Cluster, listener: str, *, priority: int) -> None:
    there = cluster.load_assignment.endpoints.add(priority=priority).lb_endpoints.add()
    there.endpoint.address.envoy_internal_address.server_listener_name = listener


@lru_cache(maxsize=16)
def _template(http2: bool, idle_seconds: int, script: str) -> cluster_pb2.Cluster:
    cluster = mark("")
    cluster.lb_policy = cluster_pb2.Cluster.LEAST_REQUEST
    cluster.circuit_breakers.thresholds.append(_limits())
    server = cluster.load_assignment.endpoints.add(priority=0)
    server.lb_endpoints.append(endpoint_components_pb2.LbEndpoint())
    _add_internal(cluster, COLD_LISTENER, priority=1)
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.common_http_protocol_options.idle_timeout.seconds = idle_seconds
    if http2:
        windows = protocol_pb2.Http2ProtocolOptions(
            initial_stream_window_size=UInt32Value(value=_H2_WINDOW),
            initial_connection_window_size=UInt32Value(value=_H2_WINDOW),
        )
        options.explicit_http_config.http2_protocol_options.CopyFrom(windows)
    else:
        options.explicit_http_config.http_protocol_options.enable_trailers = True
    if script:
        looking = options.http_filters.add(name="unanswered")
        lua = lua_pb2.Lua()
        lua.default_source_code.inline_string = script
        looking.typed_config.Pack(lua)
        options.http_filters.add(name="codec").typed_config.Pack(upstream_codec_pb2.UpstreamCodec())
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].Pack(options)
    return cluster
