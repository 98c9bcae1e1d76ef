"""Pure: the clusters by which requests of one token go to our own listeners, which hear from them whose they are.

Only of tokens of which not any number may wait: who has to count those is not on the hot path, and cannot ask again.
"""

from __future__ import annotations

from typing import Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from overbook.gateway.snapshot import names
from overbook.gateway.snapshot.clusters import HTTP_OPTIONS, inside

_LEADS: Final = {
    names.CLUSTER_COLD_REST: (names.COLD_LISTENER, False),
    names.CLUSTER_COLD_GRPC: (names.COLD_LISTENER, True),
    names.CLUSTER_LARGE_REST: (names.LARGE_LISTENER, False),
}


def clusters_of(token: str) -> list[cluster_pb2.Cluster]:
    """All of a token's."""
    return [_cluster(each, token) for each in _LEADS]


def names_of(token: str) -> list[str]:
    """What they are called."""
    return [names.of_token(each, token) for each in _LEADS]


def _cluster(name: str, token: str) -> cluster_pb2.Cluster:
    listener, http2 = _LEADS[name]
    cluster = inside(names.of_token(name, token), listener)
    options = http_protocol_options_pb2.HttpProtocolOptions()
    explicit = options.explicit_http_config
    if http2:
        explicit.http2_protocol_options.SetInParent()
    else:
        explicit.http_protocol_options.SetInParent()
    telling = header_mutation_pb2.HeaderMutation()
    mutation = telling.mutations.request_mutations.add()
    mutation.append.header.key = names.TOKEN_HEADER
    mutation.append.header.value = token
    mutation.append.append_action = base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    options.http_filters.add(name="whose").typed_config.Pack(telling)
    options.http_filters.add(name="codec").typed_config.Pack(upstream_codec_pb2.UpstreamCodec())
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].Pack(options)
    return cluster
