"""Pure: the listeners inside Envoy that refuse who shows no token, or one that is not for the model.

A script that chooses a cluster cannot answer by itself: it sends the request to one of these. Nobody else is ever asked
about such a request, so who has no token costs no more than this.
"""

from __future__ import annotations

from typing import Final

from overbook.access.refusals import NO_TOKEN, NOT_GRANTED
from overbook.gateway.snapshot.names import CLUSTER_NO_TOKEN, CLUSTER_NOT_GRANTED
from overbook.gateway.snapshot.route_parts import Json

REFUSING: Final = (CLUSTER_NO_TOKEN, CLUSTER_NOT_GRANTED)
_STATUS: Final = {CLUSTER_NO_TOKEN: 401, CLUSTER_NOT_GRANTED: 403}
_TEXT: Final = {CLUSTER_NO_TOKEN: NO_TOKEN, CLUSTER_NOT_GRANTED: NOT_GRANTED}
_TYPE: Final = "type.googleapis.com/envoy.extensions.filters"


def address(cluster: str) -> Json:
    """Where the cluster of this name leads."""
    return {"envoy_internal_address": {"server_listener_name": cluster}}


def refusing_listener(cluster: str) -> Json:
    """Answers everything with the refusal that the cluster of this name stands for."""
    route: dict[str, Json] = {
        "match": {"prefix": "/"},
        "direct_response": {
            "status": _STATUS[cluster],
            "body": {"inline_string": _TEXT[cluster]},
        },
    }
    if cluster == CLUSTER_NO_TOKEN:
        route["response_headers_to_add"] = [
            {"header": {"key": "www-authenticate", "value": "Bearer"}}
        ]
    over_rest: Json = {
        "header_filter": {
            "header": {
                "name": "content-type",
                "string_match": {"prefix": "application/grpc"},
                "invert_match": True,
                "treat_missing_header_as_empty": True,
            }
        }
    }
    manager: Json = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": cluster,
        "codec_type": "AUTO",
        "generate_request_id": False,
        "http2_protocol_options": {"max_concurrent_streams": 10_000},
        "local_reply_config": {
            "mappers": [
                {
                    "filter": over_rest,
                    "body_format_override": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}},
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": f"{_TYPE}.http.router.v3.Router",
                    "suppress_envoy_headers": True,
                },
            }
        ],
        "route_config": {
            "name": cluster,
            "virtual_hosts": [{"name": cluster, "domains": ["*"], "routes": [route]}],
        },
    }
    return {
        "name": cluster,
        "internal_listener": {},
        # What is refused needs no memory to speak of.
        "bypass_overload_manager": True,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
