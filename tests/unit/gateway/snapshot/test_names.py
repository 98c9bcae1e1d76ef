from __future__ import annotations

import re

import pytest

from overbook.gateway.snapshot.names import (
    MAX_SLOTS,
    PLACE_STATS_REGEX,
    PlaceCount,
    Protocol,
    drain_filter,
    filled,
    marks,
    parse_place_stats,
    place_cluster,
    place_key,
    stat_name,
)
from overbook.manifests.names import MAX_NAME

SCRAPE = """\
# TYPE envoy_cluster_upstream_rq_active gauge
envoy_cluster_upstream_rq_active{envoy_cluster_name="grpc/iris/0"} 2
envoy_cluster_upstream_rq_active{envoy_cluster_name="rest/iris/0"} 1
envoy_cluster_upstream_rq_active{envoy_cluster_name="rest/iris/11"} 0
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{envoy_cluster_name="rest/iris/0"} 40
envoy_cluster_upstream_rq_total{envoy_cluster_name="control"} 7
envoy_server_live{} 1
"""


def test_names_are_what_the_scripts_build() -> None:
    assert place_cluster(Protocol.GRPC, "iris", 3) == "grpc/iris/3"
    both = (Protocol.REST, Protocol.GRPC)
    assert marks("iris", {}) == []
    assert marks("iris", {0: both}) == ["/v2/models/iris/infer", "one/grpc/iris"]
    assert marks("iris", {2: [Protocol.REST]}) == ["hot/rest/iris/2", "wide/iris"]


def test_limits_are_written_into_scripts() -> None:
    script = "local a, b = @MAX_NAME@, @LAST_SLOT@ -- x@y"
    assert filled(script) == f"local a, b = {MAX_NAME}, {MAX_SLOTS - 1} -- x@y"
    with pytest.raises(KeyError, match="MAX_NAMES"):
        filled("local a = @MAX_NAMES@")


def test_both_protocols_count_for_a_place() -> None:
    assert parse_place_stats(SCRAPE) == {
        ("iris", 0): PlaceCount(total=40, active=3),
        ("iris", 11): PlaceCount(total=0, active=0),
    }


def test_dots_survive_statistics() -> None:
    counted = stat_name(place_cluster(Protocol.REST, "a.b-c_D.9", 2))
    assert "." not in counted
    text = f'envoy_cluster_upstream_rq_total{{envoy_cluster_name="{counted}"}} 3\n'
    assert parse_place_stats(text) == {("a.b-c_D.9", 2): PlaceCount(total=3)}
    assert re.match(drain_filter([("a.b-c_D.9", 2)]), f"cluster.{counted}.upstream_rq_active")
    assert re.fullmatch(PLACE_STATS_REGEX, f"cluster.{counted}.upstream_rq_active")


def test_nothing_in_nothing_out() -> None:
    assert parse_place_stats("") == {}


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("cluster.rest/iris/0.upstream_rq_total", True),
        ("cluster.grpc/a-b/15.upstream_rq_active", True),
        ("cluster.stream/a-b/15.upstream_rq_active", True),
        ("cluster.rest/iris/0.upstream_rq_time", False),
        ("cluster.hot/rest/iris/0.upstream_rq_total", False),
        ("cluster.control.upstream_rq_total", False),
    ],
)
def test_only_what_is_read_is_kept(name: str, kept: bool) -> None:
    assert (re.fullmatch(PLACE_STATS_REGEX, name) is not None) is kept


def test_filter_matches_these_places_only() -> None:
    pattern = re.compile(drain_filter([("iris", 0), ("a-b", 2)]))
    assert pattern.match("cluster.rest/iris/0.upstream_rq_active")
    assert pattern.match("cluster.grpc/a-b/2.upstream_rq_active")
    assert pattern.match("cluster.rest/iris/0.upstream_rq_total")
    assert not pattern.match("cluster.rest/iris/01.upstream_rq_active")
    assert not pattern.match("cluster.rest/xiris/0.upstream_rq_active")
    assert not pattern.match("cluster.rest/iris/0.upstream_rq_time")


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_places_cluster_tells_its_key(protocol: Protocol) -> None:
    assert place_key(place_cluster(protocol, "a-b", 12)) == (protocol, ("a-b", 12))


@pytest.mark.parametrize(
    "cluster", ["", "own/a", "rest/a", "hot/rest/a/0", "rest/a/0/1", "cold-rest"]
)
def test_other_clusters_lead_to_no_place(cluster: str) -> None:
    assert place_key(cluster) is None
