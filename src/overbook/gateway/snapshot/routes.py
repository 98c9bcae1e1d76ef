"""Pure: the routes of Envoy's listeners, as plain JSON-like documents. Those of the data listener change, seldom.

A request's cluster is chosen by a script, so routes need not change when models come and go. Only the busiest
models get routes of their own, which need no script; see `own_routes` in the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.extensions.router.cluster_specifiers.lua.v3 import lua_pb2 as specifier_pb2
from google.protobuf import json_format

from overbook.gateway.snapshot import names
from overbook.wire.limits import LARGE_BODY, MAX_BODY

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

# What the documents name by "@type" must be known to whoever makes messages of them.
_TYPES: Final = (ext_authz_pb2, lua_pb2, previous_priorities_config_pb2, specifier_pb2)
# The filter that finds the model's name in a message of gRPC.
NAMING: Final = "model-name"
# Those that see how large a compressed body becomes.
SIZING: Final = "inflated-small"
ASKING_SIZE: Final = "inflated-size"
_MODELS: Final = "/v2/models/"
_GRPC_SERVICES: Final = r"/(inference|grpc\.health\.v1)\..*"
_TYPE: Final = "type.googleapis.com/envoy.extensions"
# Also what no model answered, whatever the status: see UNANSWERED_HEADER. A model's own 404 is its answer.
_RETRY_ALWAYS: Final = "connect-failure,refused-stream,reset,retriable-headers"
# A request that kills the server is not tried for ever.
_RETRY_FINAL: Final = "connect-failure,refused-stream"


@dataclass(frozen=True, slots=True)
class Scripts:
    """The texts of the Lua scripts, each complete; see the comment at the head of each file."""

    choose_cluster: str
    choose_rest: str
    choose_place: str
    name_grpc: str
    name_rest: str
    size_rest: str


def data_routes(scripts: Scripts, own: Sequence[str]) -> route_pb2.RouteConfiguration:
    """Of the listener for clients. ``own``: the models that have routes of their own."""
    routes: list[Json] = [
        _named_route(names.INFER_PATH, scripts),
        # Most requests are found here: what is unusual about others is looked for behind these.
        *(_own_route(model) for model in own),
        _model_route({"prefix": _MODELS, "headers": _usual()}, scripts.choose_rest),
        _too_large_route(),
        *_large_routes(),
        *_compressed_routes(scripts),
        # The scripts tell what needs the model from what does not.
        _model_route(
            {"prefix": _MODELS, "headers": [_present(names.SELDON_HEADER)]},
            scripts.choose_cluster,
        ),
        _model_route({"prefix": _MODELS}, scripts.choose_rest),
        *_oip_routes(),
        _models_own_paths(),
        _nothing_here(),
    ]
    # Removed from what clients send, before anything else looks at it.
    document = _configuration(names.DATA_ROUTES, routes, internal=names.INTERNAL_HEADERS)
    return json_format.ParseDict(document, route_pb2.RouteConfiguration())


def large_routes(scripts: Scripts) -> Json:
    """Of the listener for large bodies: as of that for clients."""
    routes: list[Json] = [
        *_compressed_routes(scripts),
        _model_route({"prefix": _MODELS}, scripts.choose_cluster),
        _models_own_paths(),
    ]
    return _configuration(names.LARGE_LISTENER, routes)


def inner_routes(scripts: Scripts) -> Json:
    """Of the listener for the stream relay, which is believed."""
    match: Json = {"prefix": "/inference.", "headers": [_present(names.MODEL_HEADER)]}
    routes: list[Json] = [_model_route(match, scripts.choose_cluster), _nothing_here()]
    return _configuration("inner", routes)


def cold_routes(scripts: Scripts) -> Json:
    """Of the listener where requests wait for their model."""
    # A place that was just verified gives the last word: its 404 is the answer.
    final = _place_route(_retry(_RETRY_FINAL), scripts)
    final["match"] = {"prefix": "/", "headers": [_present(names.VERIFIED_HEADER)]}
    routes: list[Json] = [final, _place_route(_retry(_RETRY_ALWAYS), scripts)]
    return _configuration("cold", routes)


def _configuration(name: str, routes: list[Json], internal: Sequence[str] = ()) -> dict[str, Json]:
    return {
        "name": name,
        "internal_only_headers": [*internal],
        "virtual_hosts": [
            {
                "name": name,
                "domains": ["*"],
                "include_request_attempt_count": True,
                "response_headers_to_remove": [names.UNANSWERED_HEADER],
                "routes": routes,
            }
        ],
    }


def _present(header: str) -> dict[str, Json]:
    return {"name": header, "present_match": True}


def _absent(header: str) -> Json:
    return {**_present(header), "invert_match": True}


def _usual() -> list[Json]:
    """Of requests with a short body that is as it seems, and no header that might name another model."""
    short: Json = {"name": "content-length", "range_match": {"start": 0, "end": LARGE_BODY}}
    return [short, _absent(names.SELDON_HEADER), _absent("content-encoding")]


def _named_route(path: str, scripts: Scripts) -> Json:
    """A call of gRPC whose message names the model. Streams go to the relay, see `_oip_routes`."""
    route = _model_route({"path": path}, scripts.choose_cluster)
    route["typed_per_filter_config"] = {
        NAMING: {
            "@type": f"{_TYPE}.filters.http.lua.v3.LuaPerRoute",
            "source_code": {"inline_string": scripts.name_grpc},
        }
    }
    return route


def _too_large_route() -> Json:
    """Goes where it will be refused, however hot the model is."""
    length: Json = {
        "name": "content-length",
        "range_match": {"start": MAX_BODY + 1, "end": 2**62},
    }
    return {
        "match": {"prefix": _MODELS, "headers": [length]},
        "route": {"cluster": names.CLUSTER_COLD_REST, **_action(None)},
    }


def _large_routes() -> list[Json]:
    """Requests over REST with a large body, or with one that does not say how large it is."""
    long: Json = {"name": "content-length", "range_match": {"start": LARGE_BODY, "end": 2**62}}
    untold: list[Json] = [
        _absent("content-length"),
        {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH"}}},
    ]
    of_path = _present(names.SELDON_HEADER)
    return [
        {
            "match": {"prefix": prefix, "headers": headers},
            "route": {"cluster": names.CLUSTER_LARGE_REST, **_action(None)},
        }
        for prefix, more in ((_MODELS, []), ("/", [of_path, _not_grpc()]))
        for headers in ([long, *more], [*untold, *more])
    ]


def _not_grpc() -> Json:
    return {
        "name": "content-type",
        "string_match": {"prefix": "application/grpc"},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }


def _compressed_routes(scripts: Scripts) -> list[Json]:
    """Requests over REST with a compressed body, which servers would inflate however large it becomes."""
    compressed: Json = _present("content-encoding")
    to_model = _model_route({"prefix": _MODELS, "headers": [compressed]}, scripts.choose_cluster)
    to_path = _models_own_paths(compressed)
    for route in (to_model, to_path):
        route["typed_per_filter_config"] = {
            SIZING: {
                "@type": f"{_TYPE}.filters.http.lua.v3.LuaPerRoute",
                "source_code": {"inline_string": scripts.size_rest},
            },
            ASKING_SIZE: {
                "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"with_request_body": {"max_request_bytes": MAX_BODY}},
            },
        }
    return [to_model, to_path]


def _model_route(match: Json, script: str) -> dict[str, Json]:
    action = _action(_retry(_RETRY_ALWAYS))
    action["inline_cluster_specifier_plugin"] = _chooser(script)
    return {"match": match, "route": action, "request_body_buffer_limit": MAX_BODY}


def _own_route(model: str) -> dict[str, Json]:
    """Like the route with the script, for one model; only for usual requests."""
    action = _action(_retry(_RETRY_ALWAYS))
    action["cluster"] = names.own_cluster(model)
    match: Json = {
        "path": names.infer_path(model),
        "headers": _usual(),
    }
    return {"match": match, "route": action, "request_body_buffer_limit": MAX_BODY}


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
        "request_body_buffer_limit": MAX_BODY,
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
            "match": {"safe_regex": {"regex": _GRPC_SERVICES}, "grpc": {}},
            "route": {"cluster": names.CLUSTER_OIP_GRPC, **_action(None)},
        },
        {
            "match": {"path_separated_prefix": "/v2"},
            "route": {"cluster": names.CLUSTER_OIP_REST, **_action(None)},
        },
        # MLServer's, and refused: or else a model's name in the header would open it.
        {
            "match": {"path": "/openapi.json"},
            "route": {"cluster": names.CLUSTER_OIP_REST, **_action(None)},
        },
    ]


def _models_own_paths(*headers: Json) -> dict[str, Json]:
    """Those that a model defines for itself and that do not name it; only with these headers."""
    return {
        "match": {"prefix": "/", "headers": [_present(names.SELDON_HEADER), *headers]},
        "route": {"cluster": names.CLUSTER_COLD_REST, **_action(None)},
    }


def _nothing_here() -> Json:
    text = (
        "path: unknown; expected /v2/... or a call of inference.GRPCInferenceService; for a path that a model "
        f"defines for itself the header {names.SELDON_HEADER} names the model"
    )
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


def _retry(retry_on: str) -> Json:
    """One more try, at the next priority, which is the cold listener."""
    return {
        "retry_on": retry_on,
        "retriable_headers": [_present(names.UNANSWERED_HEADER)],
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
