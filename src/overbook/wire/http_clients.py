"""Makes clients of HTTP for inference servers: at `host:port`, or at `unix:/path`, as gRPC writes both."""

from __future__ import annotations

from typing import Final

import aiohttp

_UNIX: Final = "unix:"


def http_session(
    address: str, *, timeout: float | None = None, limit: int = 100
) -> aiohttp.ClientSession:
    """Asks this address alone; what is asked for is a path. Make it inside the event loop that uses it.

    ``timeout``: seconds for a whole call, where it does not say; None: no bound. ``limit``: of connections, 0: none.
    """
    path = address.removeprefix(_UNIX)
    unix = path != address
    return aiohttp.ClientSession(
        "http://localhost" if unix else f"http://{address}",
        connector=aiohttp.UnixConnector(path, limit=limit)
        if unix
        else aiohttp.TCPConnector(limit=limit),
        timeout=aiohttp.ClientTimeout(timeout),
    )
