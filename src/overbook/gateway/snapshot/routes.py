"""Pure: the routes of Envoy's listeners, as plain JSON-like documents. Those of the data listener change, seldom.

A request's cluster is chosen by a script, so routes need not change when models come and go. Only the busiest
models get routes of their own, which need no script; see `own_routes` in the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.extensions.router.cluster_specifiers.lua.v3 import lua_pb2 as specifier_pb2
from google.protobuf import json_format

from overbook.gateway.snapshot import direct, names
from overbook.gateway.snapshot.asking import Asking
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
# The script that asks for a token at the routes of the busiest models.
_BUSY: Final = "busy"
_GRPC_SERVICES: Final = r"/(inference|grpc\.health\.v1)\..*"
_HEALTH: Final = ("/v2/health/live", "/v2/health/ready")
_GRPC_HEALTH: Final = (
    r"/(grpc\.health\.v1\.Health/.*|inference\.GRPCInferenceService/Server(Live|Ready))"
)
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


# Of gRPC, for the gateway. Names of methods are ASCII: one that is not UTF-8 ends the gateway's own gRPC server, which
# decodes it. A match of the path alone would not look behind a question mark.
_METHOD: Final[list[Json]] = [
    {"name": ":path", "string_match": {"safe_regex": {"regex": "[!-~]*"}}},
]
# A header names the model besides the path.
_NAMED_TWICE: Final[dict[str, Json]] = {
    "prefix": _MODELS,
    "headers": [{"name": names.SELDON_HEADER, "present_match": True}],
}


def data_routes(scripts: Scripts, own: Sequence[str]) -> route_pb2.RouteConfiguration:
    """Of the listener for clients. ``own``: the models that have routes of their own."""
    routes: list[Json] = [
        _named_route(names.INFER_PATH, _chosen_by(scripts.choose_cluster), scripts.name_grpc),
        # Most requests are found here: what is unusual about others is looked for behind these.
        *(_own_route(model) for model in own),
        _model_route({"prefix": _MODELS, "headers": _usual()}, _chosen_by(scripts.choose_rest)),
        _too_large_route(),
        *_large_routes(_to(names.CLUSTER_LARGE_REST), _to(names.CLUSTER_LARGE_REST)),
        *_plainly_compressed(scripts),
        # The scripts tell what needs the model from what does not.
        _model_route(_NAMED_TWICE, _chosen_by(scripts.choose_cluster)),
        _model_route({"prefix": _MODELS}, _chosen_by(scripts.choose_rest)),
        *_oip_routes(None),
        _models_own_paths(_to(names.CLUSTER_COLD_REST)),
        direct.nothing_here(),
    ]
    return _of_clients(routes)


def asking_routes(asking: Asking, own: Sequence[str]) -> route_pb2.RouteConfiguration:
    """The same where tokens are asked for, of everybody but probes. A model is never sent its client's token.

    The models that have routes of their own share one script, which only asks: all tokens are in it.
    """
    choose = asking.choose_cluster
    routes: list[Json] = [
        *_probes(),
        _tokenless(_named_route(names.INFER_PATH, _asked(choose), asking.name_grpc)),
        *(_tokenless(_asked_own_route(model)) for model in own),
        _tokenless(
            _model_route({"prefix": _MODELS, "headers": _usual()}, _asked(asking.choose_rest))
        ),
        _too_large_at_once(),
        *map(_tokenless, _large_routes(_asked(asking.large), _asked(asking.own_path_large))),
        *map(
            _tokenless,
            _compressed_routes(_asked(choose), _asked(asking.own_path), asking.size_rest),
        ),
        _tokenless(_model_route(_NAMED_TWICE, _asked(choose))),
        _tokenless(_model_route({"prefix": _MODELS}, _asked(asking.choose_rest))),
        *_oip_routes(asking.own),
        _tokenless(_models_own_paths(_asked(asking.own_path))),
        direct.nothing_here(),
    ]
    shared: Json = [_chooser(_BUSY, asking.busy, names.CLUSTER_NO_TOKEN)] if own else []
    return _of_clients(routes, {"cluster_specifier_plugins": shared})


def untold_routes() -> route_pb2.RouteConfiguration:
    """The same before the scheduler has said whether tokens are asked for: there might be, so nobody gets in."""
    text = (
        "this gateway has not heard from the scheduler yet which models there are, and who may use them; "
        "try again"
    )
    closed: dict[str, Json] = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 503, "body": {"inline_string": text}},
        "response_headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
    }
    return _of_clients([*_probes(), closed])


def _of_clients(
    routes: list[Json], more: Mapping[str, Json] = MappingProxyType({})
) -> route_pb2.RouteConfiguration:
    # Removed from what clients send, before anything else looks at it.
    checked = [direct.odd_host(), *routes]
    document = _configuration(names.DATA_ROUTES, checked, internal=names.INTERNAL_HEADERS)
    document |= more
    return json_format.ParseDict(document, route_pb2.RouteConfiguration())


def large_routes(scripts: Scripts) -> Json:
    """Of the listener for large bodies: as of that for clients."""
    routes: list[Json] = [
        *_plainly_compressed(scripts),
        _model_route({"prefix": _MODELS}, _chosen_by(scripts.choose_cluster)),
        _models_own_paths(_to(names.CLUSTER_COLD_REST)),
    ]
    return _configuration(names.LARGE_LISTENER, routes)


def inner_routes(scripts: Scripts) -> Json:
    """Of the listener for the stream relay, which is believed."""
    match: Json = {"prefix": "/inference.", "headers": [_present(names.MODEL_HEADER)]}
    routes: list[Json] = [
        _model_route(match, _chosen_by(scripts.choose_cluster)),
        direct.nothing_here(),
    ]
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


def _named_route(path: str, choosing: dict[str, Json], naming: str) -> dict[str, Json]:
    """A call of gRPC whose message names the model. Streams go to the relay, see `_oip_routes`."""
    # Without anything behind it, which the path alone would let pass: see `_METHOD`.
    whole: Json = {"name": ":path", "string_match": {"exact": path}}
    route = _model_route({"path": path, "grpc": {}, "headers": [whole]}, choosing)
    route["typed_per_filter_config"] = {
        NAMING: {
            "@type": f"{_TYPE}.filters.http.lua.v3.LuaPerRoute",
            "source_code": {"inline_string": naming},
        }
    }
    return route


def _tokenless(route: dict[str, Json]) -> dict[str, Json]:
    """The inference server does not hear the token: a model is code, and might use it."""
    return {**route, "request_headers_to_remove": ["authorization"]}


def _probes() -> list[Json]:
    """What asks whether this gateway lives and serves shows no token."""
    rest: Json = {**_to(names.CLUSTER_OIP_REST), **_action(None)}
    over_rest: list[Json] = [{"match": {"path": path}, "route": rest} for path in _HEALTH]
    return [
        *over_rest,
        {
            "match": {"safe_regex": {"regex": _GRPC_HEALTH}, "grpc": {}, "headers": _METHOD},
            "route": {**_to(names.CLUSTER_OIP_GRPC), **_action(None)},
        },
    ]


def _to(cluster: str) -> dict[str, Json]:
    return {"cluster": cluster}


def _chosen_by(script: str) -> dict[str, Json]:
    """A script that fails leads where requests are looked at more closely."""
    return {
        "inline_cluster_specifier_plugin": _chooser(
            "choose-cluster", script, names.CLUSTER_COLD_REST
        )
    }


def _asked(script: str) -> dict[str, Json]:
    """The same where tokens are asked for: a script that fails lets nobody in."""
    return {
        "inline_cluster_specifier_plugin": _chooser(
            "choose-cluster", script, names.CLUSTER_NO_TOKEN
        )
    }


# Of any model, by what it says of itself.
_TOO_LARGE: Final[dict[str, Json]] = {
    "prefix": _MODELS,
    "headers": [
        {"name": "content-length", "range_match": {"start": MAX_BODY + 1, "end": 2**62}},
    ],
}


def _too_large_route() -> Json:
    """Goes where it will be refused, however hot the model is."""
    return {"match": _TOO_LARGE, "route": {**_to(names.CLUSTER_COLD_REST), **_action(None)}}


def _too_large_at_once() -> Json:
    """Where it came from nobody knows yet: it goes nowhere, and is told nothing of the model."""
    text = f"request body: too large, at most {MAX_BODY} bytes are accepted"
    return {
        "match": _TOO_LARGE,
        "direct_response": {"status": 413, "body": {"inline_string": text}},
    }


def _large_routes(to_model: dict[str, Json], to_path: dict[str, Json]) -> list[dict[str, Json]]:
    """Requests over REST with a large body, or with one that does not say how large it is.

    ``to_model``, ``to_path``: where they go.
    """
    long: Json = {"name": "content-length", "range_match": {"start": LARGE_BODY, "end": 2**62}}
    untold: list[Json] = [
        _absent("content-length"),
        {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH"}}},
    ]
    of_path = _present(names.SELDON_HEADER)
    return [
        {
            "match": {"prefix": prefix, "headers": headers},
            "route": {**leads, **_action(None)},
        }
        for prefix, more, leads in (
            (_MODELS, [], to_model),
            ("/", [of_path, _not_grpc()], to_path),
        )
        for headers in ([long, *more], [*untold, *more])
    ]


def _not_grpc() -> Json:
    return {
        "name": "content-type",
        "string_match": {"prefix": "application/grpc"},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }


def _plainly_compressed(scripts: Scripts) -> list[dict[str, Json]]:
    to_path = _to(names.CLUSTER_COLD_REST)
    return _compressed_routes(_chosen_by(scripts.choose_cluster), to_path, scripts.size_rest)


def _compressed_routes(
    to_model: dict[str, Json], to_path: dict[str, Json], sizing: str
) -> list[dict[str, Json]]:
    """Requests over REST with a compressed body, which servers would inflate however large it becomes.

    ``to_model``, ``to_path``: where they go. ``sizing``: the script that sees how large it becomes.
    """
    compressed: Json = _present("content-encoding")
    routes = (
        _model_route({"prefix": _MODELS, "headers": [compressed]}, to_model),
        _models_own_paths(to_path, compressed),
    )
    for route in routes:
        route["typed_per_filter_config"] = {
            SIZING: {
                "@type": f"{_TYPE}.filters.http.lua.v3.LuaPerRoute",
                "source_code": {"inline_string": sizing},
            },
            ASKING_SIZE: {
                "@type": f"{_TYPE}.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"with_request_body": {"max_request_bytes": MAX_BODY}},
            },
        }
    return [*routes]


def _model_route(match: Json, leads: dict[str, Json]) -> dict[str, Json]:
    action = {**_action(_retry(_RETRY_ALWAYS)), **leads}
    return {"match": match, "route": action, "request_body_buffer_limit": MAX_BODY}


def _own_route(model: str) -> dict[str, Json]:
    """Like the route with the script, for one model; only for usual requests."""
    return _model_route(_of_one(model), _to(names.own_cluster(model)))


def _asked_own_route(model: str) -> dict[str, Json]:
    """The same, by a script that asks for a token."""
    return _model_route(_of_one(model), {"cluster_specifier_plugin": _BUSY})


def _of_one(model: str) -> Json:
    return {
        "path": names.infer_path(model),
        "headers": _usual(),
    }


def _chooser(name: str, script: str, failed: str) -> Json:
    return {
        "extension": {
            "name": name,
            "typed_config": {
                "@type": f"{_TYPE}.router.cluster_specifiers.lua.v3.LuaConfig",
                "source_code": {"inline_string": script},
                "default_cluster": failed,
            },
        }
    }


def _place_route(retry: Json, scripts: Scripts) -> dict[str, Json]:
    action = _action(retry)
    return {
        "match": {"prefix": "/"},
        "route": {**action, **_chosen_by(scripts.choose_place)},
        "request_body_buffer_limit": MAX_BODY,
        "request_headers_to_add": [
            {
                "header": {"key": names.HOP_HEADER, "value": "1"},
                "append_action": "APPEND_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _oip_routes(script: str | None) -> list[Json]:
    """Requests that need no model in memory go to the gateway's own endpoints. ``script``: chooses who gets there."""
    rest = _to(names.CLUSTER_OIP_REST) if script is None else _asked(script)
    grpc = _to(names.CLUSTER_OIP_GRPC) if script is None else _asked(script)
    return [
        {
            "match": {"safe_regex": {"regex": _GRPC_SERVICES}, "grpc": {}, "headers": _METHOD},
            "route": {**grpc, **_action(None)},
        },
        {
            "match": {"path_separated_prefix": "/v2"},
            "route": {**rest, **_action(None)},
        },
        # MLServer's, and refused: or else a model's name in the header would open it.
        {
            "match": {"path": "/openapi.json"},
            "route": {**rest, **_action(None)},
        },
    ]


def _models_own_paths(leads: dict[str, Json], *headers: Json) -> dict[str, Json]:
    """Those that a model defines for itself and that do not name it; only with these headers."""
    return {
        "match": {"prefix": "/", "headers": [_present(names.SELDON_HEADER), *headers]},
        "route": {**leads, **_action(None)},
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
