"""The names that Envoy, the Lua scripts and the controller share: headers, clusters, statistics, limits.

A *place* is a model on one replica. Envoy knows a place by the model's name and a small number, its
slot, so that a Lua script can find a model's places without a list of replicas:

    PROTOCOL/MODEL/SLOT       the inference server's endpoint for this place; PROTOCOL: rest, grpc, stream
    one/PROTOCOL/MODEL        a mark without endpoints: direct traffic goes to slot 0, and only there;
                              for REST it is called like the path of the request: /v2/models/MODEL/infer
    wide/MODEL                a mark: look at all slots, several or others than 0 may be hot
    hot/PROTOCOL/MODEL/SLOT   a mark, only beside `wide`: direct traffic may go to this slot
    own/MODEL                 where the own route of a busy model leads (REST): to slot 0, or to the cold listener while
                              direct traffic may not go there

Envoy takes the part of a statistic's name up to a dot for the cluster, so there a model's dots are tildes, which no
name has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from overbook.manifests.names import MAX_NAME
from overbook.wire import limits

# Seldon's clients name the model in it.
SELDON_HEADER: Final = "seldon-model"
# Set by our own filters and stripped from what clients send.
MODEL_HEADER: Final = "x-overbook-model"
CLUSTER_HEADER: Final = "x-overbook-cluster"
HOP_HEADER: Final = "x-overbook-hop"
VERIFIED_HEADER: Final = "x-overbook-verified"
# Says that a question is about a call of gRPC: with a content type of gRPC in it Envoy takes a question that failed for
# one that was answered with yes.
GRPC_HEADER: Final = "x-overbook-grpc"
# Names the gateway that let a request through, for an inference server that counts them.
GRANT_HEADER: Final = "x-overbook-grant"
# The place to which a request was let through before, and which it did not reach. The cold listener's script sets it,
# or takes away what a client sent.
MISSED_HEADER: Final = "x-overbook-missed"
# Whose request it is, of a token of which not any number may wait. No inference server hears it: what bears it goes by
# the cold listener, which takes it away.
TOKEN_HEADER: Final = "x-overbook-token"
INTERNAL_HEADERS: Final = (
    MODEL_HEADER,
    CLUSTER_HEADER,
    HOP_HEADER,
    VERIFIED_HEADER,
    GRPC_HEADER,
    GRANT_HEADER,
    TOKEN_HEADER,
)
# Of an answer that no model gave: it was not there, or its process had died. Only such a request is sent again.
# Inference servers with our adapter say so; for others lua/unanswered.lua does. Clients do not see it.
UNANSWERED_HEADER: Final = "x-overbook-unanswered"
ATTEMPT_HEADER: Final = "x-envoy-attempt-count"
# With it an ext_authz server names headers to remove from the request.
REMOVE_HEADER: Final = "x-envoy-auth-headers-to-remove"
# What the activation service says where clients get 503, which Envoy would take for its failure.
REFUSED_STATUS: Final = 403

INFER_PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
CONFIG_PATH: Final = "/inference.GRPCInferenceService/ModelConfig"
STREAM_PATH: Final = "/inference.GRPCInferenceService/ModelStreamInfer"

# Where the gateway says whether a compressed body may be inflated, and the word of lua/size_rest.lua that it need not
# be asked: as dynamic metadata, (namespace, key).
MEASURE_PREFIX: Final = "/inflated"
KNOWN_SMALL: Final = ("overbook", "small")

# The route configuration of the data listener.
DATA_ROUTES: Final = "data"

# Where requests wait for their model, inside Envoy.
COLD_LISTENER: Final = "cold"

# Where large bodies over REST are collected, inside Envoy.
LARGE_LISTENER: Final = "large"

CLUSTER_CONTROL: Final = "control"
CLUSTER_QUESTIONS: Final = "questions"
CLUSTER_OIP_REST: Final = "oip-rest"
CLUSTER_OIP_GRPC: Final = "oip-grpc"
CLUSTER_COLD_REST: Final = "cold-rest"
CLUSTER_COLD_GRPC: Final = "cold-grpc"
CLUSTER_LARGE_REST: Final = "large-rest"
# Where what is refused for want of a token goes, each the name of a listener inside Envoy as well.
CLUSTER_NO_TOKEN: Final = "no-token"
CLUSTER_NOT_GRANTED: Final = "not-granted"

# The Lua script looks at no more slots than this (see lua/choose_cluster.lua).
MAX_SLOTS: Final = 16

# The limits that the Lua scripts know, each by the name that stands for it in their text, as @MAX_NAME@ does.
_LUA_LIMITS: Final[Mapping[str, int]] = {
    "LAST_SLOT": MAX_SLOTS - 1,
    "MAX_BODY": limits.MAX_BODY,
    "MAX_FIELDS": limits.MAX_FIELDS,
    "MAX_INFLATED": limits.MAX_INFLATED,
    "MAX_LOOKED_AT": limits.MAX_LOOKED_AT,
    "MAX_NAME": MAX_NAME,
    "MAX_SHOWN": limits.MAX_SHOWN,
}
# What `asking` puts in, again and again.
_LATER: Final = frozenset({"KEY", "TOKENS", "NO_TOKEN", "NOTES"})
_LIMIT_IN_LUA: Final = re.compile("@([A-Z_]+)@")

# Only these statistics are kept for places: what the meter reads.
PLACE_STATS_REGEX: Final = r"cluster\.(rest|grpc|stream)/[^/]+/[0-9]+\.upstream_rq_(total|active)"
_PLACE_STAT: Final = re.compile(
    r'^envoy_cluster_upstream_rq_(total|active)\{envoy_cluster_name="'
    r'(?:rest|grpc|stream)/([^/]+)/([0-9]+)"\} ([0-9]+)$',
    re.MULTILINE,
)
_PLACE_CLUSTER: Final = re.compile(r"(rest|grpc|stream)/([^/]+)/([0-9]+)")


_DOT: Final = "~"


class Protocol(Enum):
    """How a request asks for a model: REST, a unary call of gRPC, or a stream of gRPC."""

    REST = "rest"
    GRPC = "grpc"
    STREAM = "stream"


def filled(script: str) -> str:
    """A Lua script with the limits in their places. Raises KeyError where it names one that there is not."""
    return _LIMIT_IN_LUA.sub(_limit, script)


def _limit(found: re.Match[str]) -> str:
    return found[0] if found[1] in _LATER else str(_LUA_LIMITS[found[1]])


def place_cluster(protocol: Protocol, model: str, slot: int) -> str:
    """The cluster that leads to the inference server holding this place."""
    return f"{protocol.value}/{model}/{slot}"


def stat_name(cluster: str) -> str:
    """What statistics call a cluster."""
    return cluster.replace(".", _DOT)


def place_key(cluster: str) -> tuple[Protocol, tuple[str, int]] | None:
    """The place that a cluster leads to, as (model, slot), and how. None: it is no place's."""
    found = _PLACE_CLUSTER.fullmatch(cluster)
    return None if found is None else (Protocol(found[1]), (found[2], int(found[3])))


def infer_path(model: str) -> str:
    """The path of the usual request over REST."""
    return f"/v2/models/{model}/infer"


def own_cluster(model: str) -> str:
    """The cluster of a model's own route."""
    return f"own/{model}"


def of_token(cluster: str, token: str) -> str:
    """The cluster that leads where this one does, and tells whose request it is: see lua/tokens.lua."""
    return f"{cluster}/{token}"


def marks(model: str, hot: Mapping[int, Iterable[Protocol]]) -> list[str]:
    """The marks that let direct traffic go to these slots, each over the protocols it has clusters for."""
    if not hot:
        return []
    if list(hot) == [0]:
        return [_only_mark(protocol, model) for protocol in hot[0]]
    several = [
        f"hot/{protocol.value}/{model}/{slot}" for slot, known in hot.items() for protocol in known
    ]
    return [*several, f"wide/{model}"]


def _only_mark(protocol: Protocol, model: str) -> str:
    # The script of the hot path finds it without taking the path apart: lua/choose_rest.lua.
    return infer_path(model) if protocol is Protocol.REST else f"one/{protocol.value}/{model}"


# Requests of clients that are not answered yet, and bytes of answers that they have not taken yet.
EDGE: Final = "data"
EDGE_STATS_REGEX: Final = rf"http\.{EDGE}\.(downstream_rq_active|downstream_cx_tx_bytes_buffered)"
_EDGE_STAT: Final = re.compile(
    r"^envoy_http_(downstream_rq_active|downstream_cx_tx_bytes_buffered)\{[^}]*\} ([0-9]+)$", re.M
)


@dataclass(frozen=True, slots=True)
class EdgeCount:
    """What clients still wait for: requests, and bytes of answers on their way."""

    requests: int
    bytes: int


def parse_edge_stats(text: str) -> EdgeCount:
    """Envoy's statistics in Prometheus' text format → what runs at the edge. Other lines are ignored."""
    found = {name: int(value) for name, value in _EDGE_STAT.findall(text)}
    return EdgeCount(
        requests=found.get("downstream_rq_active", 0),
        bytes=found.get("downstream_cx_tx_bytes_buffered", 0),
    )


@dataclass(slots=True)
class PlaceCount:
    """Attempts ever sent to a place and requests there now, all protocols together."""

    total: int = 0
    active: int = 0


def parse_place_stats(text: str) -> dict[tuple[str, int], PlaceCount]:
    """Envoy's statistics in Prometheus' text format → counts by (model, slot).

    Other lines are ignored.
    """
    counts: dict[tuple[str, int], PlaceCount] = {}
    for kind, model, slot, value in _PLACE_STAT.findall(text):
        count = counts.setdefault((model.replace(_DOT, "."), int(slot)), PlaceCount())
        if kind == "total":
            count.total += int(value)
        else:
            count.active += int(value)
    return counts


def drain_filter(places: list[tuple[str, int]]) -> str:
    """A regular expression for the counters of these places only."""
    names = "|".join(f"{re.escape(stat_name(model))}/{slot}" for model, slot in places)
    return rf"^cluster\.(rest|grpc|stream)/({names})\.upstream_rq_(total|active)$"
