"""Pure: Envoy's listeners, as plain JSON-like documents. They never change while Envoy runs.

`data`   TCP, clients. A script chooses: straight to a hot place, to `cold`, or to our own endpoints.
`inner`  Unix socket, the stream relay. The same routes, but x-overbook-model is believed.
`cold`   Unix socket, Envoy itself: requests for models that are not hot, and retries of requests
         that failed at a hot place. Asks the activation service (ext_authz), then goes to the place
         that it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from overbook.gateway.snapshot import names

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

# 64 MB bodies, with room for gRPC framing and JSON around the tensors.
BODY_LIMIT: Final = 80 * 1024 * 1024
# Longer than any activation may take; the activation service ends requests much earlier.
CHECK_SECONDS: Final = 600

_NAMING: Final = "model-name"
_MODELS: Final = "/v2/models/"
_TYPE: Final = "type.googleapis.com/envoy.extensions"
_RETRY_ALWAYS: Final = "connect-failure,refused-stream,reset"
# A request that kills the server is not tried for ever.
_RETRY_FINAL: Final = "connect-failure,refused-stream"
# NOT_FOUND and UNAVAILABLE.
_GRPC_RETRIABLE: Final = ("5", "14")
# What lua/dead_process.lua makes of an answer that tells of a dead process, and what that is over gRPC.
_LOST_WITH_PROCESS: Final = 421
_GRPC_LOST: Final = "Stub process .*is not healthy\\."


@dataclass(frozen=True, slots=True)
class Scripts:
    """The texts of the Lua scripts, each complete; see the comment at the head of each file."""

    choose_cluster: str
    choose_rest: str
    choose_place: str
    name_grpc: str
    name_rest: str


def data_listener(host: str, port: int, scripts: Scripts) -> Json:
    """Where clients connect: HTTP/1.1, HTTP/2 and gRPC on one port."""
    routes: list[Json] = [
        _grpc_infer_route(scripts),
        _too_large_route(),
        # The scripts tell what needs the model from what does not.
        _model_route(
            {"prefix": _MODELS, "headers": [_present(names.SELDON_HEADER)]},
            scripts.choose_cluster,
            grpc=False,
        ),
        _model_route({"prefix": _MODELS}, scripts.choose_rest, grpc=False),
        *_oip_routes(),
        _nothing_here(),
    ]
    # Only where a route enables it: the hot path of REST does without.
    naming = {**_lua(_NAMING, ""), "disabled": True}
    manager = _connection_manager("data", [naming], routes, edge=True)
    address: Json = {"socket_address": {"address": host, "port_value": port}}
    listener = _listener("data", address, manager)
    # Two programs on one port would share its connections in silence.
    listener["enable_reuse_port"] = False
    # Without this one worker thread may take all of a burst of connections, and use one core.
    listener["connection_balance_config"] = {"exact_balance": {}}
    return listener


def inner_listener(socket: str, scripts: Scripts) -> Json:
    """Where the stream relay comes back with the model's name in the trusted header."""
    match: Json = {"prefix": "/inference.", "headers": [_present(names.MODEL_HEADER)]}
    routes: list[Json] = [_model_route(match, scripts.choose_cluster, grpc=True), _nothing_here()]
    return _listener("inner", _pipe(socket), _connection_manager("inner", [], routes, edge=False))


def cold_listener(socket: str, scripts: Scripts) -> Json:
    """Where requests wait for their model."""
    naming = _lua(_NAMING, scripts.name_rest)
    ask: Json = {
        "name": "activation",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "clear_route_cache": True,
            "status_on_error": {"code": "ServiceUnavailable"},
            "grpc_service": {
                "envoy_grpc": {"cluster_name": names.CLUSTER_CONTROL},
                "timeout": f"{CHECK_SECONDS}s",
            },
            "allowed_headers": {
                "patterns": [
                    {"exact": header}
                    for header in (
                        names.MODEL_HEADER,
                        names.HOP_HEADER,
                        names.ATTEMPT_HEADER,
                        "content-type",
                        "grpc-timeout",
                    )
                ]
            },
        },
    }
    # A place that was just verified gives the last word: its 404 is the answer.
    final = _place_route(_retry(_RETRY_FINAL), scripts)
    final["match"] = {"prefix": "/", "headers": [_present(names.VERIFIED_HEADER)]}
    again = _retry(_RETRY_ALWAYS, http_not_found=True, grpc_not_found=True)
    routes: list[Json] = [final, _place_route(again, scripts)]
    return _listener(
        "cold", _pipe(socket), _connection_manager("cold", [naming, ask], routes, edge=False)
    )


def _pipe(path: str) -> Json:
    return {"pipe": {"path": path, "mode": 0o600}}


def _listener(name: str, address: Json, manager: Json) -> dict[str, Json]:
    return {
        "name": name,
        "address": address,
        "per_connection_buffer_limit_bytes": BODY_LIMIT,
        "filter_chains": [{"filters": [manager]}],
    }


def _connection_manager(
    name: str, filters: list[Json], routes: list[Json], *, edge: bool
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
            # Inside, a call of gRPC may come over HTTP/1.1: its status is in the trailers.
            "http_protocol_options": {"accept_http_10": True, "enable_trailers": not edge},
            # The window is also how much of one stream may be held, see BODY_LIMIT.
            "http2_protocol_options": {
                "initial_stream_window_size": BODY_LIMIT,
                "initial_connection_window_size": 2 * BODY_LIMIT,
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
            "local_reply_config": _local_replies(),
            "http_filters": [*filters, router],
            "route_config": {
                "name": name,
                # Removed from what clients send, before anything else looks at it.
                "internal_only_headers": list(names.INTERNAL_HEADERS) if edge else [],
                "virtual_hosts": [
                    {
                        "name": name,
                        "domains": ["*"],
                        "include_request_attempt_count": True,
                        "routes": routes,
                    }
                ],
            },
        },
    }


def _local_replies() -> Json:
    """What Envoy itself answers over REST is in OIP form; over gRPC the text is the message."""
    too_large: Json = {
        "filter": {
            "and_filter": {
                "filters": [
                    {
                        "status_code_filter": {
                            "comparison": {
                                "op": "EQ",
                                "value": {"default_value": 413, "runtime_key": "unused"},
                            }
                        }
                    },
                    _is_grpc(True),
                ]
            }
        },
        # RESOURCE_EXHAUSTED; Envoy's own choice is UNKNOWN.
        "headers_to_add": [
            {
                "header": {"key": "grpc-status", "value": "8"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "body": {"inline_string": f"message: too large, at most {BODY_LIMIT} bytes are accepted"},
    }
    rest: Json = {
        "filter": _is_grpc(False),
        "body_format_override": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}},
    }
    return {"mappers": [too_large, rest]}


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


def _present(header: str) -> Json:
    return {"name": header, "present_match": True}


def _lua(name: str, script: str) -> dict[str, Json]:
    config: dict[str, Json] = {"@type": f"{_TYPE}.filters.http.lua.v3.Lua"}
    if script:
        config["default_source_code"] = {"inline_string": script}
    return {"name": name, "typed_config": config}


def _grpc_infer_route(scripts: Scripts) -> Json:
    """ModelInfer: the model is named in the message. Streams go to the relay, see `_oip_routes`."""
    route = _model_route({"path": names.INFER_PATH}, scripts.choose_cluster, grpc=True)
    route["typed_per_filter_config"] = {
        _NAMING: {
            "@type": f"{_TYPE}.filters.http.lua.v3.LuaPerRoute",
            "source_code": {"inline_string": scripts.name_grpc},
        }
    }
    return route


def _too_large_route() -> Json:
    """Goes where it will be refused, however hot the model is."""
    length: Json = {
        "name": "content-length",
        "range_match": {"start": BODY_LIMIT + 1, "end": 2**62},
    }
    return {
        "match": {"prefix": _MODELS, "headers": [length]},
        "route": {"cluster": names.CLUSTER_COLD_REST, **_action(None)},
    }


def _model_route(match: Json, script: str, *, grpc: bool) -> dict[str, Json]:
    # No need to look in every answer over REST for what is not there.
    action = _action(_retry(_RETRY_ALWAYS, http_not_found=True, grpc_not_found=grpc))
    action["inline_cluster_specifier_plugin"] = _chooser(script)
    return {"match": match, "route": action, "request_body_buffer_limit": BODY_LIMIT}


def _chooser(script: str) -> Json:
    return {
        "extension": {
            "name": "choose-cluster",
            "typed_config": {
                "@type": f"{_TYPE}.router.cluster_specifiers.lua.v3.LuaConfig",
                "source_code": {"inline_string": script},
                "default_cluster": names.CLUSTER_COLD_REST,
            },
        }
    }


def _place_route(retry: Json, scripts: Scripts) -> dict[str, Json]:
    action = _action(retry)
    action["inline_cluster_specifier_plugin"] = _chooser(scripts.choose_place)
    return {
        "match": {"prefix": "/"},
        "route": action,
        "request_body_buffer_limit": BODY_LIMIT,
        "request_headers_to_add": [
            {
                "header": {"key": names.HOP_HEADER, "value": "1"},
                "append_action": "APPEND_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _oip_routes() -> list[Json]:
    """Requests that need no model in memory go to the gateway's own endpoints."""
    return [
        {
            "match": {"prefix": "/inference.GRPCInferenceService/", "grpc": {}},
            "route": {"cluster": names.CLUSTER_OIP_GRPC, **_action(None)},
        },
        {
            "match": {"path_separated_prefix": "/v2"},
            "route": {"cluster": names.CLUSTER_OIP_REST, **_action(None)},
        },
    ]


def _nothing_here() -> Json:
    text = "path: unknown; expected /v2/... or a call of inference.GRPCInferenceService"
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": text}},
    }


def _action(retry: Json) -> dict[str, Json]:
    action: dict[str, Json] = {
        "timeout": "0s",
        # The client's own grpc-timeout is respected, whatever it is.
        "max_stream_duration": {"grpc_timeout_header_max": "0s"},
    }
    if retry is not None:
        action["retry_policy"] = retry
    return action


def _retry(retry_on: str, *, http_not_found: bool = False, grpc_not_found: bool = False) -> Json:
    """One more try, at the next priority, which is the cold listener."""
    policy: dict[str, Json] = {
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        "retry_priority": {
            "name": "previous-priorities",
            "typed_config": {
                "@type": f"{_TYPE}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }
    if http_not_found:
        retry_on += ",retriable-status-codes"
        policy["retriable_status_codes"] = [404, _LOST_WITH_PROCESS]
    if grpc_not_found:
        retry_on += ",retriable-headers"
        headers: list[Json] = [
            {"name": "grpc-status", "string_match": {"exact": code}} for code in _GRPC_RETRIABLE
        ]
        lost: Json = {"safe_regex": {"regex": _GRPC_LOST}}
        policy["retriable_headers"] = [
            *headers,
            {"name": "grpc-message", "string_match": lost},
        ]
    policy["retry_on"] = retry_on
    return policy
