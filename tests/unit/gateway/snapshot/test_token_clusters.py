"""By which clusters requests of one token go to our own listeners."""

from __future__ import annotations

from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from overbook.gateway.snapshot.clusters import HTTP_OPTIONS
from overbook.gateway.snapshot.names import TOKEN_HEADER
from overbook.gateway.snapshot.token_clusters import clusters_of, names_of


def test_each_tells_whose_request_it_is() -> None:
    found = {each.name: each for each in clusters_of("web")}
    assert list(found) == names_of("web") == ["cold-rest/web", "cold-grpc/web", "large-rest/web"]
    for name, cluster in found.items():
        options = http_protocol_options_pb2.HttpProtocolOptions()
        cluster.typed_extension_protocol_options[HTTP_OPTIONS].Unpack(options)
        telling, codec = options.http_filters
        mutations = header_mutation_pb2.HeaderMutation()
        telling.typed_config.Unpack(mutations)
        (mutation,) = mutations.mutations.request_mutations
        assert (mutation.append.header.key, mutation.append.header.value) == (TOKEN_HEADER, "web")
        assert codec.name == "codec"
        http2 = options.explicit_http_config.HasField("http2_protocol_options")
        assert http2 is ("grpc" in name)
        (there,) = cluster.load_assignment.endpoints[0].lb_endpoints
        listener = there.endpoint.address.envoy_internal_address.server_listener_name
        assert listener == ("large" if "large" in name else "cold")
