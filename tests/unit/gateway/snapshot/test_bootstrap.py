from __future__ import annotations

import json
from pathlib import Path

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.overload.v3 import overload_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.bootstrap.internal_listener.v3 import internal_listener_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.request_id.uuid.v3 import uuid_pb2
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2
from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2
from envoy.extensions.router.cluster_specifiers.lua.v3 import lua_pb2 as specifier_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format

from overbook.gateway.snapshot import bootstrap
from overbook.gateway.snapshot.data_listener import Door
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.gateway.snapshot.routes import Scripts

SCRIPTS = Scripts(
    choose_cluster="A",
    choose_rest="B",
    choose_place="C",
    name_grpc="D",
    name_rest="E",
    size_rest="F",
)
# Types that the document names by "@type" must be known to the parser.
KNOWN = (
    buffer_pb2,
    fixed_heap_pb2,
    overload_pb2,
    file_pb2,
    uuid_pb2,
    internal_listener_pb2,
    ext_authz_pb2,
    local_rate_limit_pb2,
    lua_pb2,
    router_pb2,
    http_connection_manager_pb2,
    previous_priorities_config_pb2,
    specifier_pb2,
    http_protocol_options_pb2,
)


def test_the_document_is_a_bootstrap() -> None:
    sockets = bootstrap.Sockets.in_folder(Path("/run/ob"))
    document = bootstrap.document(
        door=Door("127.0.0.1", 9000),
        sockets=sockets,
        scripts=SCRIPTS,
        limits=EdgeLimits(),
        request_log="/failed.log",
    )
    assert KNOWN
    message = json_format.Parse(json.dumps(document), bootstrap_pb2.Bootstrap())
    listeners = message.static_resources.listeners
    assert [listener.name for listener in listeners] == [
        *("data", "inner", "cold", "large"),
        *("no-token", "not-granted"),
    ]
    assert listeners[0].address.socket_address.port_value == 9000
    assert message.admin.address.pipe.path == "/run/ob/gw-admin.sock"
    clusters = {cluster.name: cluster for cluster in message.static_resources.clusters}
    [asked] = clusters["questions"].load_assignment.endpoints
    assert [each.endpoint.address.pipe.path for each in asked.lb_endpoints] == [
        f"/run/ob/gw-questions-{number}.sock" for number in range(4)
    ]
    for final in ("oip-rest", "cold-rest", "cold-grpc"):
        assert clusters[final].circuit_breakers.thresholds[0].max_retries.value == 0


def test_a_folder_too_deep_for_sockets_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 107"):
        bootstrap.Sockets.in_folder(Path("/" + "d" * 95))
