"""What clients of the data port are shown: put into the feed, anew whenever it changes.

Decides nothing; what is in use, and whether it is good, is said by `overbook.tls`.
"""

from __future__ import annotations

from overbook.gateway.errors import GatewayStartFailed
from overbook.gateway.snapshot.data_listener import Door
from overbook.gateway.snapshot.tls import secrets
from overbook.gateway.xds import Feed
from overbook.tls.following import FollowedPair
from overbook.tls.pair import Pair


class Certificates:
    """``followed``: None for a port without TLS."""

    def __init__(self, followed: FollowedPair | None, feed: Feed) -> None:
        self._followed = followed
        self._feed = feed
        self._put: tuple[int, ...] = ()
        if followed is not None:
            followed.on_change(self._use)
            self._use(followed.current)

    def door(self, host: str, port: int) -> Door:
        """How clients come in there."""
        followed = self._followed
        asks = followed is not None and bool(followed.current.client_ca)
        return Door(host, port, tls=followed is not None, asks_clients=asks)

    def check(self) -> None:
        """Raises GatewayStartFailed when Envoy does not take what was put last."""
        for why in filter(None, map(self._feed.refusal, self._put)):
            raise GatewayStartFailed(
                f"TLS: Envoy does not take what is in the files of the certificate: {why}"
            )

    def _use(self, pair: Pair) -> None:
        """Clients are shown this from their next connection on; those that are open last."""
        found = secrets(pair.certificate, pair.key, pair.client_ca)
        self._put = tuple(map(self._feed.put, found))
