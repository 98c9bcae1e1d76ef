"""Pure: the routes of Envoy's listeners, as plain JSON-like documents. Those of the data listener change, seldom.

A request's cluster is chosen by a script, so routes need not change when models come and go. Only the busiest
models get routes of their own, which need no script; see `own_routes` in the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.extensions.router.cluster_specifiers.lua.v3 import lua_pb2 as specifier_pb2
from google.protobuf import json_format

from overbook.gateway.snapshot import direct, names, token_rates
from overbook.gateway.snapshot.asking import Asking
from overbook.gateway.snapshot.route_parts import (
    RETRY_ALWAYS,
    RETRY_FINAL,
    Json,
    absent,
    asked,
    chooser,
    chosen_by,
    present,
    retried,
    route_action,
    to,
)
from overbook.wire.limits import LARGE_BODY, MAX_BODY

# What the documents name by "@type" must be known to whoever makes messages of them.
_TYPES: Final = (
    ext_authz_pb2,
    local_rate_limit_pb2,
    lua_pb2,
    previous_priorities_config_pb2,
    specifier_pb2,
)
# The filter that finds the model's name in a message of gRPC.
NAMING: Final = "model-name"
# That which counts the requests of all clients.
RATE: Final = "rate"
# Those that see how large a compressed body becomes.
SIZING: Final = "inflated-small"
ASKING_SIZE: Final = "inflated-size"
_MODELS: Final = "/v2/models/"
# The script that asks for a token at the routes of the busiest models.
_BUSY: Final = "busy"
# As lua/rest_path.lua has it: what is told of a model without the model.
TOLD_PATHS: Final = r"/v2/models/[^/]+(/versions/[^/]+)?(/|/(ready|config|stats|trace/setting))?"
_GRPC_SERVICES: Final = r"/(inference|grpc\.health\.v1)\..*"
_HEALTH: Final = ("/v2/health/live", "/v2/health/ready")
_GRPC_HEALTH: Final = (
    r"/(grpc\.health\.v1\.Health/.*|inference\.GRPCInferenceService/Server(Live|Ready))"
)
_TYPE: Final = "type.googleapis.com/envoy.extensions"


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
        _named_route(names.INFER_PATH, chosen_by(scripts.choose_cluster), scripts.name_grpc),
        # Most requests are found here: what is unusual about others is looked for behind these.
        *(_own_route(model) for model in own),
        _model_route({"prefix": _MODELS, "headers": _usual()}, chosen_by(scripts.choose_rest)),
        _too_large_route(),
        *_large_routes(to(names.CLUSTER_LARGE_REST), to(names.CLUSTER_LARGE_REST)),
        *_plainly_compressed(scripts),
        # The scripts tell what needs the model from what does not.
        _model_route(_NAMED_TWICE, chosen_by(scripts.choose_cluster)),
        _model_route({"prefix": _MODELS}, chosen_by(scripts.choose_rest)),
        *_probes(),
        *_oip_routes(None),
        _models_own_paths(to(names.CLUSTER_COLD_REST)),
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
        _tokenless(_named_route(names.INFER_PATH, asked(choose), asking.name_grpc)),
        *(_tokenless(_asked_own_route(model)) for model in own),
        *_told_routes(asking.choose_rest),
        _tokenless(
            _model_route({"prefix": _MODELS, "headers": _usual()}, asked(asking.choose_rest))
        ),
        _too_large_at_once(),
        *map(_tokenless, _large_routes(asked(asking.large), asked(asking.own_path_large))),
        *map(
            _tokenless,
            _compressed_routes(asked(choose), asked(asking.own_path), asking.size_rest),
        ),
        _tokenless(_model_route(_NAMED_TWICE, asked(choose))),
        _tokenless(_model_route({"prefix": _MODELS}, asked(asking.choose_rest))),
        *_oip_routes(asking.own),
        _tokenless(_models_own_paths(asked(asking.own_path))),
        direct.nothing_here(),
    ]
    shared: Json = [chooser(_BUSY, asking.busy, names.CLUSTER_NO_TOKEN)] if own else []
    rates: Json = {**token_rates.of_routes(asking.whose, asking.rates)}
    return _of_clients(routes, {"cluster_specifier_plugins": shared}, rates)


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
    routes: list[Json],
    more: Mapping[str, Json] = MappingProxyType({}),
    filters: Json = None,
) -> route_pb2.RouteConfiguration:
    # Removed from what clients send, before anything else looks at it.
    checked = [direct.odd_host(), *routes]
    document = _configuration(names.DATA_ROUTES, checked, names.INTERNAL_HEADERS, filters)
    document |= more
    return json_format.ParseDict(document, route_pb2.RouteConfiguration())


def large_routes(scripts: Scripts) -> Json:
    """Of the listener for large bodies: as of that for clients."""
    cold = to(names.CLUSTER_COLD_REST)
    routes: list[Json] = [
        # Only the cold listener takes that header away, so they go there whether the model is hot or not.
        *_compressed_routes(cold, cold, scripts.size_rest, present(names.TOKEN_HEADER)),
        *_plainly_compressed(scripts),
        _model_route({"prefix": _MODELS, "headers": [present(names.TOKEN_HEADER)]}, cold),
        _model_route({"prefix": _MODELS}, chosen_by(scripts.choose_cluster)),
        _models_own_paths(cold),
    ]
    return _configuration(names.LARGE_LISTENER, routes)


def inner_routes(scripts: Scripts) -> Json:
    """Of the listener for the stream relay, which is believed."""
    match: dict[str, Json] = {"prefix": "/inference.", "headers": [present(names.MODEL_HEADER)]}
    whose: Json = {**match, "headers": [present(names.MODEL_HEADER), present(names.TOKEN_HEADER)]}
    routes: list[Json] = [
        _model_route(whose, to(names.CLUSTER_COLD_GRPC)),
        _model_route(match, chosen_by(scripts.choose_cluster)),
        direct.nothing_here(),
    ]
    return _configuration("inner", routes)


def cold_routes(scripts: Scripts) -> Json:
    """Of the listener where requests wait for their model."""
    # A place that was just verified gives the last word: its 404 is the answer.
    final = _place_route(retried(RETRY_FINAL), scripts)
    final["match"] = {"prefix": "/", "headers": [present(names.VERIFIED_HEADER)]}
    routes: list[Json] = [final, _place_route(retried(RETRY_ALWAYS), scripts)]
    return _configuration("cold", routes)


def _configuration(
    name: str, routes: list[Json], internal: Sequence[str] = (), filters: Json = None
) -> dict[str, Json]:
    """``internal``: headers that are taken away; ``filters``: what is said to filters, for all routes."""
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
                **({"typed_per_filter_config": filters} if filters else {}),
            }
        ],
    }


def _usual() -> list[Json]:
    """Of requests with a short body that is as it seems, and no header that might name another model."""
    short: Json = {"name": "content-length", "range_match": {"start": 0, "end": LARGE_BODY}}
    return [short, absent(names.SELDON_HEADER), absent("content-encoding")]


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


def _told_routes(script: str) -> list[Json]:
    """What the gateway tells of a model, for which it has to see the token: never more than the script leads to it."""
    changing: Json = {"name": ":path", "string_match": {"suffix": "/trace/setting"}}
    match: dict[str, Json] = {"safe_regex": {"regex": TOLD_PATHS}}
    # The headers are looked at first, and cost what others ask for next to nothing.
    return [
        {"match": {**match, "headers": [which]}, "route": {**asked(script), **route_action(None)}}
        for which in (_method("GET"), _method("HEAD"), changing)
    ]


def _method(name: str) -> Json:
    return {"name": ":method", "string_match": {"exact": name}}


def _tokenless(route: dict[str, Json]) -> dict[str, Json]:
    """The inference server does not hear the token: a model is code, and might use it."""
    return {**route, "request_headers_to_remove": ["authorization"]}


def _probes() -> list[Json]:
    """What asks whether this gateway lives and serves shows no token, and is not held back by others' requests."""
    uncounted: Json = {
        RATE: {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
    }
    rest: Json = {**to(names.CLUSTER_OIP_REST), **route_action(None)}
    over_rest: list[Json] = [
        {"match": {"path": path}, "route": rest, "typed_per_filter_config": uncounted}
        for path in _HEALTH
    ]
    return [
        *over_rest,
        {
            "match": {"safe_regex": {"regex": _GRPC_HEALTH}, "grpc": {}, "headers": _METHOD},
            "route": {**to(names.CLUSTER_OIP_GRPC), **route_action(None)},
            "typed_per_filter_config": uncounted,
        },
    ]


# Of any model, by what it says of itself.
_TOO_LARGE: Final[dict[str, Json]] = {
    "prefix": _MODELS,
    "headers": [
        {"name": "content-length", "range_match": {"start": MAX_BODY + 1, "end": 2**62}},
    ],
}


def _too_large_route() -> Json:
    """Goes where it will be refused, however hot the model is."""
    return {"match": _TOO_LARGE, "route": {**to(names.CLUSTER_COLD_REST), **route_action(None)}}


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
        absent("content-length"),
        {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH"}}},
    ]
    of_path = present(names.SELDON_HEADER)
    return [
        {
            "match": {"prefix": prefix, "headers": headers},
            "route": {**leads, **route_action(None)},
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
    to_path = to(names.CLUSTER_COLD_REST)
    return _compressed_routes(chosen_by(scripts.choose_cluster), to_path, scripts.size_rest)


def _compressed_routes(
    to_model: dict[str, Json], to_path: dict[str, Json], sizing: str, *headers: Json
) -> list[dict[str, Json]]:
    """Requests over REST with a compressed body, which servers would inflate however large it becomes.

    ``to_model``, ``to_path``: where they go. ``sizing``: the script that sees how large it becomes. ``headers``: only
    with these.
    """
    compressed: list[Json] = [present("content-encoding"), *headers]
    routes = (
        _model_route({"prefix": _MODELS, "headers": compressed}, to_model),
        _models_own_paths(to_path, *compressed),
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
    action = {**route_action(retried(RETRY_ALWAYS)), **leads}
    return {"match": match, "route": action, "request_body_buffer_limit": MAX_BODY}


def _own_route(model: str) -> dict[str, Json]:
    """Like the route with the script, for one model; only for usual requests."""
    return _model_route(_of_one(model), to(names.own_cluster(model)))


def _asked_own_route(model: str) -> dict[str, Json]:
    """The same, by a script that asks for a token."""
    return _model_route(_of_one(model), {"cluster_specifier_plugin": _BUSY})


def _of_one(model: str) -> Json:
    return {
        "path": names.infer_path(model),
        "headers": _usual(),
    }


def _place_route(retry: Json, scripts: Scripts) -> dict[str, Json]:
    action = route_action(retry)
    return {
        "match": {"prefix": "/"},
        "route": {**action, **chosen_by(scripts.choose_place)},
        "request_body_buffer_limit": MAX_BODY,
        "request_headers_to_remove": [names.TOKEN_HEADER],
        "request_headers_to_add": [
            {
                "header": {"key": names.HOP_HEADER, "value": "1"},
                "append_action": "APPEND_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _oip_routes(script: str | None) -> list[Json]:
    """Requests that need no model in memory go to the gateway's own endpoints. ``script``: chooses who gets there."""
    rest = to(names.CLUSTER_OIP_REST) if script is None else asked(script)
    grpc = to(names.CLUSTER_OIP_GRPC) if script is None else asked(script)
    return [
        {
            "match": {"safe_regex": {"regex": _GRPC_SERVICES}, "grpc": {}, "headers": _METHOD},
            "route": {**grpc, **route_action(None)},
        },
        {
            "match": {"path_separated_prefix": "/v2"},
            "route": {**rest, **route_action(None)},
        },
        # MLServer's, and refused: or else a model's name in the header would open it.
        {
            "match": {"path": "/openapi.json"},
            "route": {**rest, **route_action(None)},
        },
    ]


def _models_own_paths(leads: dict[str, Json], *headers: Json) -> dict[str, Json]:
    """Those that a model defines for itself and that do not name it; only with these headers."""
    return {
        "match": {"prefix": "/", "headers": [present(names.SELDON_HEADER), *headers]},
        "route": {**leads, **route_action(None)},
    }
