"""Pure: Envoy's listeners inside, as plain JSON-like documents, and what all have. Clients' is `data_listener`.

They never change while Envoy runs; see `routes` for what may.

`data`   TCP, clients. A script chooses: straight to a hot place, to `cold`, or to our own endpoints.
`inner`  Unix socket, the stream relay. The same routes, but x-overbook-model is believed.
`large`  In memory, Envoy itself: requests over REST with a large body, which is collected before it goes on, so that
         no inference server holds parts of bodies. It alone is closed where memory runs out.
`cold`   In memory, Envoy itself: requests for models that are not hot, and retries of requests
         that failed at a hot place. Asks the activation service (ext_authz), then goes to the place
         that it names.
"""

from __future__ import annotations

from typing import Final

from overbook.gateway.snapshot import names, replies
from overbook.gateway.snapshot.route_parts import Json
from overbook.gateway.snapshot.routes import (
    ASKING_SIZE,
    NAMING,
    SIZING,
    Scripts,
    cold_routes,
    inner_routes,
    large_routes,
)
from overbook.manifests.durations import LONGEST_WAIT
from overbook.wire.limits import MAX_BODY, MAX_HEAD

# The activation service ends requests earlier.
CHECK_SECONDS: Final = int(LONGEST_WAIT) + 60

# Tens of them may have come at once, each for a second of a processor.
_MEASURE_SECONDS: Final = 60

COLD_ADDRESS: Final[Json] = {
    "envoy_internal_address": {"server_listener_name": names.COLD_LISTENER}
}
LARGE_ADDRESS: Final[Json] = {
    "envoy_internal_address": {"server_listener_name": names.LARGE_LISTENER}
}

_DAY: Final = 24 * 3600
TYPE: Final = "type.googleapis.com/envoy.extensions"


def asking_size() -> dict[str, Json]:
    """Asks the gateway how large a compressed body becomes, where no script has seen that it is small."""
    namespace, key = names.KNOWN_SMALL
    return {
        "name": ASKING_SIZE,
        "typed_config": {
            "@type": f"{TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "status_on_error": {"code": "ServiceUnavailable"},
            "filter_enabled_metadata": {
                "filter": namespace,
                "path": [{"key": key}],
                "value": {"bool_match": True},
                "invert": True,
            },
            "http_service": {
                "server_uri": {
                    "uri": "http://inflated",
                    "cluster": names.CLUSTER_OIP_REST,
                    "timeout": f"{_MEASURE_SECONDS}s",
                },
                "path_prefix": names.MEASURE_PREFIX,
            },
        },
    }


def inner_listener(socket: str, scripts: Scripts) -> Json:
    """Where the stream relay comes back with the model's name in the trusted header."""
    routes: dict[str, Json] = {"route_config": inner_routes(scripts)}
    return bare_listener(
        "inner", _pipe(socket), connection_manager("inner", [], routes, edge=False)
    )


def cold_listener(scripts: Scripts) -> Json:
    """Where requests wait for their model."""
    naming = lua_filter(NAMING, scripts.name_rest)
    ask: Json = {
        "name": "activation",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "clear_route_cache": True,
            "status_on_error": {"code": "ServiceUnavailable"},
            "http_service": {
                "server_uri": {
                    "uri": "http://activation",
                    "cluster": names.CLUSTER_QUESTIONS,
                    "timeout": f"{CHECK_SECONDS}s",
                },
                "authorization_response": {
                    "allowed_upstream_headers": _exactly(
                        names.CLUSTER_HEADER, names.VERIFIED_HEADER, names.GRANT_HEADER
                    ),
                    "allowed_client_headers": _exactly("grpc-status", "retry-after", "allow"),
                },
            },
            "allowed_headers": _exactly(
                names.MODEL_HEADER,
                names.TOKEN_HEADER,
                names.HOP_HEADER,
                names.ATTEMPT_HEADER,
                names.GRPC_HEADER,
                names.MISSED_HEADER,
                "grpc-timeout",
            ),
        },
    }
    routes: dict[str, Json] = {"route_config": cold_routes(scripts)}
    manager = connection_manager(names.COLD_LISTENER, [naming, ask], routes, edge=False)
    return {**bare_listener(names.COLD_LISTENER, None, manager), "internal_listener": {}}


def large_listener(scripts: Scripts) -> Json:
    """Where large bodies over REST are collected."""
    there: list[Json] = [
        {**each, "disabled": True} for each in (lua_filter(SIZING, ""), asking_size())
    ]
    collect: Json = {
        "name": "collect",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.buffer.v3.Buffer",
            "max_request_bytes": MAX_BODY,
        },
    }
    # Nobody is cut off for being silent, unless memory runs out: see the overload manager.
    routed: dict[str, Json] = {
        "route_config": large_routes(scripts),
        "stream_idle_timeout": f"{_DAY}s",
    }
    manager = connection_manager(names.LARGE_LISTENER, [*there, collect], routed, edge=False)
    listener = bare_listener(names.LARGE_LISTENER, None, manager)
    return {**listener, "internal_listener": {}, "bypass_overload_manager": False}


def _exactly(*headers: str) -> Json:
    return {"patterns": [{"exact": header} for header in headers]}


def _pipe(path: str) -> Json:
    return {"pipe": {"path": path, "mode": 0o600}}


def http2_options(streams: int) -> Json:
    """``streams``: that one connection may have at once."""
    return {
        # The window is also how much of one stream may be held, see MAX_BODY.
        "initial_stream_window_size": MAX_BODY,
        "initial_connection_window_size": 2 * MAX_BODY,
        "max_concurrent_streams": streams,
    }


def bare_listener(name: str, address: Json, manager: Json) -> dict[str, Json]:
    """``address``: None inside Envoy. ``manager``: its one filter."""
    return {
        "name": name,
        # Small requests go on where memory runs out.
        "bypass_overload_manager": True,
        **({} if address is None else {"address": address}),
        "per_connection_buffer_limit_bytes": MAX_BODY,
        "drain_type": "MODIFY_ONLY",
        "filter_chains": [{"filters": [manager]}],
    }


def connection_manager(
    name: str, filters: list[Json], routes: dict[str, Json], *, edge: bool
) -> dict[str, Json]:
    """The filter that speaks HTTP. ``routes``: and what else is not as usual. ``edge``: strangers connect."""
    router: Json = {
        "name": "router",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
            # Counters by response code, which nobody reads, cost every request CPU time.
            "dynamic_stats": False,
        },
    }
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "AUTO",
            "max_request_headers_kb": MAX_HEAD // 1024,
            # Inside, a call of gRPC may come over HTTP/1.1: its status is in the trailers.
            "http_protocol_options": {
                "accept_http_10": True,
                # Its requests need name no host.
                "default_host_for_http_10": "overbook",
                "enable_trailers": not edge,
            },
            "http2_protocol_options": http2_options(10_000),
            # At the edge, everybody is a stranger, also on this machine: what they send of x-envoy-*
            # and of our own headers is dropped, or it could steer retries. An empty list of internal
            # addresses would mean the private networks: this one has nobody in it.
            "use_remote_address": edge,
            "internal_address_config": {
                "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]
            },
            "skip_xff_append": True,
            "generate_request_id": False,
            "server_header_transformation": "PASS_THROUGH",
            # Inference may take minutes and streams may be silent: nobody is cut off for that.
            "stream_idle_timeout": "0s",
            "local_reply_config": replies.local_replies(name),
            "http_filters": [*filters, router],
            **routes,
        },
    }


def lua_filter(name: str, script: str) -> dict[str, Json]:
    """``script``: "": routes say which."""
    config: dict[str, Json] = {"@type": f"{TYPE}.filters.http.lua.v3.Lua"}
    if script:
        config["default_source_code"] = {"inline_string": script}
    return {"name": name, "typed_config": config}
