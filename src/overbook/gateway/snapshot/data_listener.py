"""Pure: Envoy's listener for clients, as a plain JSON-like document, and what bounds them there.

What all listeners have is `listeners`'.
"""

from __future__ import annotations

from dataclasses import dataclass

from overbook.gateway.snapshot import names, replies
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.gateway.snapshot.listeners import (
    TYPE,
    asking_size,
    bare_listener,
    connection_manager,
    http2_options,
    lua_filter,
)
from overbook.gateway.snapshot.route_parts import Json
from overbook.gateway.snapshot.routes import NAMING, RATE, SIZING
from overbook.gateway.snapshot.tls import transport_socket
from overbook.gateway.snapshot.token_rates import filters as token_rates
from overbook.gateway.snapshot.token_rates import per_second, rate_limit
from overbook.wire.limits import MAX_HEADERS

# As Linux numbers them.
_TCP, _TCP_USER_TIMEOUT = 6, 18
_SOCKET, _KEEPALIVE = 1, 9


@dataclass(frozen=True, slots=True)
class Door:
    """How clients come in. ``tls``: encrypted, and nobody in plain; ``asks_clients``: by a certificate of their own."""

    host: str
    port: int
    tls: bool = False
    asks_clients: bool = False


def data_listener(door: Door, request_log: str, limits: EdgeLimits) -> Json:
    """Where clients connect: HTTP/1.1, HTTP/2 and gRPC on one port. Each request has an id, its client's or a new one;
    the answer bears it, and so does the line about one that failed in ``request_log``.
    """
    # Only where a route enables it: the hot path of REST does without.
    filters = [lua_filter(NAMING, ""), lua_filter(SIZING, ""), asking_size()]
    there: list[Json] = [*token_rates(), *({**each, "disabled": True} for each in filters)]
    if limits.rate:
        there.insert(0, _rate(limits.rate))
    # Models get routes of their own while it runs.
    discovered: dict[str, Json] = {
        "rds": {
            "route_config_name": names.DATA_ROUTES,
            "config_source": {"ads": {}, "resource_api_version": "V3"},
        }
    }
    routed = discovered | _identified() | {"access_log": [_failures(request_log)]}
    manager = connection_manager(names.EDGE, there, routed | _bounded(limits), edge=True)
    address: Json = {"socket_address": {"address": door.host, "port_value": door.port}}
    listener = bare_listener(names.EDGE, address, manager)
    if door.tls:
        # The manager's limits begin when it has heard something, which is after the handshake.
        chain: dict[str, Json] = {
            "filters": [manager],
            "transport_socket": transport_socket(asks_clients=door.asks_clients),
            "transport_socket_connect_timeout": f"{limits.head_seconds}s",
        }
        listener["filter_chains"] = [chain]
    # At a stop only this one closes: what is inside serves on until the last request is answered.
    listener |= {"traffic_direction": "INBOUND", "drain_type": "DEFAULT"}
    # Two programs on one port would share its connections in silence.
    listener["enable_reuse_port"] = False
    # Without this one worker thread may take all of a burst of connections, and use one core.
    listener["connection_balance_config"] = {"exact_balance": {}}
    listener["socket_options"] = [
        _socket_option(_TCP, _TCP_USER_TIMEOUT, limits.unread_seconds * 1000),
        _socket_option(_SOCKET, _KEEPALIVE, 1),
    ]
    return listener


def _bounded(limits: EdgeLimits) -> dict[str, Json]:
    """How long clients may take, and how much at once each connection may ask."""
    return {
        "request_headers_timeout": f"{limits.head_seconds}s",
        # A stream of gRPC is answered before it is whole, sooner than that: see the relay.
        "request_timeout": f"{limits.request_seconds}s",
        # Of an answer over HTTP/2 that is whole and that the client does not take.
        "stream_flush_timeout": f"{limits.request_seconds}s",
        "common_http_protocol_options": {
            "idle_timeout": f"{limits.idle_seconds}s",
            "max_headers_count": MAX_HEADERS,
        },
        "http2_protocol_options": http2_options(limits.streams),
        "local_reply_config": replies.local_replies(names.EDGE, limits),
    }


def _rate(rate: int) -> Json:
    """So many requests per second of all clients together."""
    return {"name": RATE, "typed_config": rate_limit(RATE, per_second(rate))}


def _identified() -> dict[str, Json]:
    return {
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        # Nobody traces: a client's id stays as it is.
        "request_id_extension": {
            "typed_config": {
                "@type": f"{TYPE}.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
    }


def _failures(path: str) -> Json:
    """The log of requests that were answered with an error. One that is answered costs nothing here. Of what clients
    chose no more stands there than tells what it was: they would write 60 KB with each.
    """
    # Of what is not gRPC that filter would make a status.
    failed = replies.every(
        replies.is_grpc(True), {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}}
    )
    return {
        "name": "failed-requests",
        "filter": {"or_filter": {"filters": [replies.status(400, "GE"), failed]}},
        "typed_config": {
            "@type": f"{TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "id": "%REQ(X-REQUEST-ID):200%",
                    "method": "%REQ(:METHOD):20%",
                    "path": "%REQ(:PATH):1000%",
                    "model": f"%REQ({names.MODEL_HEADER}):300%",
                    "status": "%RESPONSE_CODE%",
                    "grpc": "%GRPC_STATUS%",
                    "why": "%RESPONSE_CODE_DETAILS%",
                    "milliseconds": "%DURATION%",
                },
            },
        },
    }


def _socket_option(level: int, name: int, value: int) -> Json:
    # Connections have it from the socket that listens.
    return {"level": level, "name": name, "int_value": value, "state": "STATE_PREBIND"}
