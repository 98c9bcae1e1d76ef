"""Handshakes in memory: a client and a server without a socket."""

from __future__ import annotations

import ssl


class Ends:
    """Both ends, before and after their handshake."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(to_client, to_server, server_hostname=host)
        self.server = server.wrap_bio(to_server, to_client, server_side=True)

    def shake(self) -> None:
        """Raises what either end raises."""
        done: set[ssl.SSLObject] = set()
        for _ in range(10):
            for end in (self.client, self.server):
                try:
                    end.do_handshake()
                    done.add(end)
                except ssl.SSLWantReadError:
                    continue
            if len(done) == 2:
                return
        raise AssertionError("the handshake does not end")


def shake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> str:
    """The version of TLS. Raises what either end raises."""
    ends = Ends(client, server, host)
    ends.shake()
    version = ends.client.version()
    assert version is not None
    return version
