"""Envoy's clusters come and go with the tokens whose requests may not wait in any number."""

from __future__ import annotations

from overbook.gateway.token_clusters import TokenClusters
from overbook.gateway.xds import Feed


def test_clusters_come_at_once_and_go_when_nobody_can_wait_in_them() -> None:
    feed, now = Feed(), [0.0]
    clusters = TokenClusters(feed, lambda: now[0])
    clusters.follow(["a", "b"])
    assert feed.size == 6
    revision = feed.revision
    clusters.follow(["a", "b"])
    assert feed.revision == revision
    clusters.follow(["a"])
    assert "cold-rest/b" in feed
    now[0] = 3600.0
    clusters.follow(["a"])
    assert "cold-rest/b" in feed
    now[0] = 3700.0
    clusters.follow(["a"])
    assert "cold-rest/b" not in feed
    assert feed.size == 3


def test_one_that_comes_back_stays() -> None:
    feed, now = Feed(), [0.0]
    clusters = TokenClusters(feed, lambda: now[0])
    clusters.follow(["a"])
    clusters.follow([])
    now[0] = 3000.0
    clusters.follow(["a"])
    now[0] = 4000.0
    clusters.follow([])
    now[0] = 7000.0
    clusters.follow([])
    assert feed.size == 3
