"""The routes of a gateway that asks for tokens: who is asked, what models hear, and what a script that fails does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.router.cluster_specifiers.lua.v3 import lua_pb2

from overbook.access.roles import Role
from overbook.access.tokens import Token
from overbook.gateway.scripts import read_asking, read_scripts
from overbook.gateway.snapshot.asking import asking
from overbook.gateway.snapshot.names import (
    CLUSTER_NO_TOKEN,
    CLUSTER_OIP_GRPC,
    CLUSTER_OIP_REST,
    INFER_PATH,
)
from overbook.gateway.snapshot.routes import TOLD_PATHS, asking_routes, data_routes, untold_routes
from overbook.gateway.snapshot.token_rates import RATES, WHOSE

ASKING: Final = asking_routes(asking(read_asking(), b"k", (), 0.0), ["iris"])
PLAIN: Final = data_routes(read_scripts(), ["iris"])
PROBES: Final = {CLUSTER_OIP_GRPC, CLUSTER_OIP_REST}


def routes(configuration: route_pb2.RouteConfiguration) -> list[route_pb2.Route]:
    (host,) = configuration.virtual_hosts
    return list(host.routes)


def specifiers() -> Iterator[tuple[route_pb2.Route, lua_pb2.LuaConfig]]:
    for each in routes(ASKING):
        if each.route.HasField("inline_cluster_specifier_plugin"):
            config = lua_pb2.LuaConfig()
            each.route.inline_cluster_specifier_plugin.extension.typed_config.Unpack(config)
            yield each, config


def test_only_probes_are_led_anywhere_without_a_script_that_asks() -> None:
    unasked = [each.route.cluster for each in routes(ASKING) if each.route.cluster]
    assert set(unasked) == PROBES
    matches = [each.match for each in routes(ASKING) if each.route.cluster]
    assert [each.path or each.safe_regex.regex for each in matches] == [
        "/v2/health/live",
        "/v2/health/ready",
        r"/(grpc\.health\.v1\.Health/.*|inference\.GRPCInferenceService/Server(Live|Ready))",
    ]


def test_a_script_that_fails_lets_nobody_in() -> None:
    found = list(specifiers())
    assert len(found) == 17
    for _, config in found:
        assert config.default_cluster == CLUSTER_NO_TOKEN
        assert "granted(" in config.source_code.inline_string


def test_the_script_of_the_busiest_lets_nobody_in_either() -> None:
    (shared,) = ASKING.cluster_specifier_plugins
    config = lua_pb2.LuaConfig()
    shared.extension.typed_config.Unpack(config)
    assert config.default_cluster == CLUSTER_NO_TOKEN
    (route,) = [each for each in routes(ASKING) if each.route.cluster_specifier_plugin]
    assert route.match.path == "/v2/models/iris/infer"
    assert list(route.request_headers_to_remove) == ["authorization"]


def test_what_goes_to_a_model_has_no_token_and_what_the_gateway_answers_has_it() -> None:
    for route, config in specifiers():
        own = config.source_code.inline_string.endswith('return "oip-rest"\nend\n')
        own = own or route.match.safe_regex.regex == TOLD_PATHS
        dropped = list(route.request_headers_to_remove)
        assert dropped == ([] if own else ["authorization"]), route.match


def test_before_the_scheduler_has_spoken_only_probes_are_answered() -> None:
    odd, *probes, closed = routes(untold_routes())
    assert odd.direct_response.status == 400
    assert {each.route.cluster for each in probes} == PROBES
    assert closed.match.prefix == "/"
    assert closed.direct_response.status == 503


def test_who_may_make_so_many_requests_is_counted_only_where_somebody_has_such_a_limit() -> None:
    (host,) = ASKING.virtual_hosts
    assert not host.typed_per_filter_config
    tokens = [
        Token("fast", Role.INFER, (), 0.0, None, b"f"),
        Token("slow", Role.INFER, (), 0.0, None, b"s", rate=5),
        Token("gone", Role.INFER, (), 0.0, 1.0, b"g", rate=5),
    ]
    (host,) = asking_routes(asking(read_asking(), b"k", tokens, 2.0), []).virtual_hosts
    assert set(host.typed_per_filter_config) == {WHOSE, RATES}
    limits = local_rate_limit_pb2.LocalRateLimit()
    host.typed_per_filter_config[RATES].Unpack(limits)
    (bucket,) = limits.descriptors
    assert (bucket.entries[0].value, bucket.token_bucket.max_tokens) == ("slow", 5)
    assert limits.rate_limited_as_resource_exhausted


def test_no_method_that_is_not_ascii_gets_to_the_gateways_own_grpc() -> None:
    """It is decoded there, and what cannot be ends the server. A path is matched without what is behind a "?"."""
    for configuration in (ASKING, PLAIN, untold_routes()):
        found = [each.match for each in routes(configuration) if "inference" in str(each.match)]
        assert found
        for match in found:
            (header,) = [each for each in match.headers if each.name == ":path"]
            exact, regex = header.string_match.exact, header.string_match.safe_regex.regex
            assert (exact == INFER_PATH == match.path) if exact else (regex == "[!-~]*")


@pytest.mark.parametrize(
    ("host", "odd"),
    [
        *((each, False) for each in ("x", "x:80", "[::1]:80", "127.0.0.1", "a_b.example", "%C3")),
        *((each, True) for each in ("", " ", "x y", "x/y", "@x", "\xd7", 'x"')),
    ],
)
def test_a_host_that_is_none_goes_nowhere(host: str, odd: bool) -> None:
    for configuration in (ASKING, PLAIN, untold_routes()):
        first, *_ = routes(configuration)
        (header,) = first.match.headers
        assert (header.name, header.invert_match) == (":authority", True)
        regex = header.string_match.safe_regex.regex
        assert (re.fullmatch(regex, host) is None) is odd
