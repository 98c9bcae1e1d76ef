"""Keeps Envoy's clusters of tokens of which not any number may wait, see `snapshot/token_clusters.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from overbook.gateway.snapshot.token_clusters import clusters_of, names_of
from overbook.gateway.xds import Feed
from overbook.manifests.durations import LONGEST_WAIT

# Seconds for which those of a token stay that is gone: requests may wait in them, and the scripts of before know them.
_STAY: Final = LONGEST_WAIT + 60.0


class TokenClusters:
    """``now``: seconds."""

    def __init__(self, feed: Feed, now: Callable[[], float]) -> None:
        self._feed = feed
        self._now = now
        # When they went, of those that did.
        self._gone: dict[str, float | None] = {}

    def follow(self, tokens: Collection[str]) -> None:
        """These have such a limit now."""
        now = self._now()
        for token in tokens:
            if token not in self._gone:
                for cluster in clusters_of(token):
                    self._feed.put(cluster)
            self._gone[token] = None
        for token, gone in list(self._gone.items()):
            if token in tokens:
                continue
            if gone is None:
                self._gone[token] = now
            elif now - gone > _STAY:
                del self._gone[token]
                for name in names_of(token):
                    self._feed.remove(name)
