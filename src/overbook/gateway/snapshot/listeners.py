"""Pure: Envoy's listeners, as plain JSON-like documents. They never change while Envoy runs; see `routes` for what may.

`data`   TCP, clients. A script chooses: straight to a hot place, to `cold`, or to our own endpoints.
`inner`  Unix socket, the stream relay. The same routes, but x-overbook-model is believed.
`cold`   In memory, Envoy itself: requests for models that are not hot, and retries of requests
         that failed at a hot place. Asks the activation service (ext_authz), then goes to the place
         that it names.
"""

from __future__ import annotations

from typing import Final

from overbook.gateway.snapshot import names
from overbook.gateway.snapshot.routes import (
    ASKING_SIZE,
    NAMING,
    SIZING,
    Json,
    Scripts,
    cold_routes,
    inner_routes,
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

# Said where Envoy could not ask the gateway, or got no answer that it understands.
_LOST: Final = (
    "the inference server ended or hung up while it had this request, which was not begun again, "
    "as it may be the cause; send it again if it is not"
)
_NOT_ASKED: Final = (
    "gateway: it could not be asked about this request, perhaps because too many came at once; "
    "try again"
)
_TYPE: Final = "type.googleapis.com/envoy.extensions"


def data_listener(host: str, port: int, request_log: str) -> Json:
    """Where clients connect: HTTP/1.1, HTTP/2 and gRPC on one port. Each request has an id, its client's or a new one;
    the answer bears it, and so does the line about one that failed in ``request_log``.
    """
    # Only where a route enables it: the hot path of REST does without.
    filters = [_lua(NAMING, ""), _lua(SIZING, ""), _asking_size()]
    there: list[Json] = [{**each, "disabled": True} for each in filters]
    # Models get routes of their own while it runs.
    discovered: dict[str, Json] = {
        "rds": {
            "route_config_name": names.DATA_ROUTES,
            "config_source": {"ads": {}, "resource_api_version": "V3"},
        }
    }
    routed = discovered | _identified() | {"access_log": [_failures(request_log)]}
    manager = _connection_manager(names.EDGE, there, routed, edge=True)
    address: Json = {"socket_address": {"address": host, "port_value": port}}
    listener = _listener(names.EDGE, address, manager)
    # At a stop only this one closes: what is inside serves on until the last request is answered.
    listener |= {"traffic_direction": "INBOUND", "drain_type": "DEFAULT"}
    # Two programs on one port would share its connections in silence.
    listener["enable_reuse_port"] = False
    # Without this one worker thread may take all of a burst of connections, and use one core.
    listener["connection_balance_config"] = {"exact_balance": {}}
    return listener


def _identified() -> dict[str, Json]:
    return {
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        # Nobody traces: a client's id stays as it is.
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPE}.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
    }


def _failures(path: str) -> Json:
    """The log of requests that were answered with an error. One that is answered costs nothing here."""
    # Of what is not gRPC that filter would make a status.
    failed = _all(_is_grpc(True), {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}})
    return {
        "name": "failed-requests",
        "filter": {"or_filter": {"filters": [_status(400, "GE"), failed]}},
        "typed_config": {
            "@type": f"{_TYPE}.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "id": "%REQ(X-REQUEST-ID)%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%REQ(:PATH)%",
                    "model": f"%REQ({names.MODEL_HEADER})%",
                    "status": "%RESPONSE_CODE%",
                    "grpc": "%GRPC_STATUS%",
                    "why": "%RESPONSE_CODE_DETAILS%",
                    "milliseconds": "%DURATION%",
                },
            },
        },
    }


def _asking_size() -> dict[str, Json]:
    """Asks the gateway how large a compressed body becomes, where no script has seen that it is small."""
    namespace, key = names.KNOWN_SMALL
    return {
        "name": ASKING_SIZE,
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
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
    return _listener("inner", _pipe(socket), _connection_manager("inner", [], routes, edge=False))


def cold_listener(scripts: Scripts) -> Json:
    """Where requests wait for their model."""
    naming = _lua(NAMING, scripts.name_rest)
    ask: Json = {
        "name": "activation",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
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
                names.HOP_HEADER,
                names.ATTEMPT_HEADER,
                names.GRPC_HEADER,
                names.MISSED_HEADER,
                "grpc-timeout",
            ),
        },
    }
    routes: dict[str, Json] = {"route_config": cold_routes(scripts)}
    manager = _connection_manager(names.COLD_LISTENER, [naming, ask], routes, edge=False)
    return {**_listener(names.COLD_LISTENER, None, manager), "internal_listener": {}}


def _exactly(*headers: str) -> Json:
    return {"patterns": [{"exact": header} for header in headers]}


def _pipe(path: str) -> Json:
    return {"pipe": {"path": path, "mode": 0o600}}


def _listener(name: str, address: Json, manager: Json) -> dict[str, Json]:
    return {
        "name": name,
        **({} if address is None else {"address": address}),
        "per_connection_buffer_limit_bytes": MAX_BODY,
        "drain_type": "MODIFY_ONLY",
        "filter_chains": [{"filters": [manager]}],
    }


def _connection_manager(
    name: str, filters: list[Json], routes: dict[str, Json], *, edge: bool
) -> dict[str, Json]:
    router: Json = {
        "name": "router",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
            # Counters by response code, which nobody reads, cost every request CPU time.
            "dynamic_stats": False,
        },
    }
    return {
        "name": "http",
        "typed_config": {
            "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "AUTO",
            "max_request_headers_kb": MAX_HEAD // 1024,
            # Inside, a call of gRPC may come over HTTP/1.1: its status is in the trailers.
            "http_protocol_options": {"accept_http_10": True, "enable_trailers": not edge},
            # The window is also how much of one stream may be held, see MAX_BODY.
            "http2_protocol_options": {
                "initial_stream_window_size": MAX_BODY,
                "initial_connection_window_size": 2 * MAX_BODY,
                "max_concurrent_streams": 10_000,
            },
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
            "local_reply_config": _local_replies(passes_on=name == names.COLD_LISTENER),
            "http_filters": [*filters, router],
            **routes,
        },
    }


def _local_replies(*, passes_on: bool) -> Json:
    """What Envoy itself answers over REST is in OIP form; over gRPC the text is the message.

    ``passes_on``: what the activation service refuses, for which it says REFUSED_STATUS.
    """
    too_large: Json = {
        "filter": _all(_status(413), _is_grpc(True)),
        # RESOURCE_EXHAUSTED; Envoy's own choice is UNKNOWN.
        "headers_to_add": [_header("grpc-status", "8")],
        "body": {"inline_string": f"message: too large, at most {MAX_BODY} bytes are accepted"},
    }
    as_json: Json = {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}
    rest: Json = {"filter": _is_grpc(False), "body_format_override": as_json}
    lost: list[Json] = [_status(503), {"response_flag_filter": {"flags": ["UC", "UR"]}}]
    cut: dict[str, Json] = {"body": {"inline_string": _LOST}}
    always: list[Json] = [
        too_large,
        {"filter": _all(*lost, _is_grpc(False)), **cut, "body_format_override": as_json},
        {"filter": _all(*lost, _is_grpc(True)), **cut},
    ]
    refused: Json = {
        "filter": _all(_status(names.REFUSED_STATUS), _is_grpc(False)),
        "status_code": 503,
        "body_format_override": as_json,
    }
    not_asked: dict[str, Json] = {
        "headers_to_add": [_header("retry-after", "1")],
        "body": {"inline_string": _NOT_ASKED},
    }
    failed: list[Json] = [_status(503), {"response_flag_filter": {"flags": ["UAEX"]}}]
    return {
        "mappers": [
            *always,
            *([refused] if passes_on else []),
            {
                "filter": _all(*failed, _is_grpc(False)),
                **not_asked,
                "body_format_override": as_json,
            },
            {"filter": _all(*failed, _is_grpc(True)), **not_asked},
            rest,
        ]
    }


def _all(*filters: Json) -> Json:
    return {"and_filter": {"filters": [*filters]}}


def _header(name: str, value: str) -> Json:
    return {
        "header": {"key": name, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _status(code: int, comparing: str = "EQ") -> Json:
    comparison: Json = {
        "op": comparing,
        "value": {"default_value": code, "runtime_key": "unused"},
    }
    return {"status_code_filter": {"comparison": comparison}}


def _is_grpc(wanted: bool) -> Json:
    return {
        "header_filter": {
            "header": {
                "name": "content-type",
                "string_match": {"prefix": "application/grpc"},
                "invert_match": not wanted,
                "treat_missing_header_as_empty": True,
            }
        }
    }


def _lua(name: str, script: str) -> dict[str, Json]:
    config: dict[str, Json] = {"@type": f"{_TYPE}.filters.http.lua.v3.Lua"}
    if script:
        config["default_source_code"] = {"inline_string": script}
    return {"name": name, "typed_config": config}
