"""Where uvicorn is to listen, in its own words."""

from __future__ import annotations

from typing import Any

_UNIX = "unix:"


def listening(address: str) -> dict[str, Any]:
    """For its configuration. ``address``: unix:/path or host:port."""
    path = address.removeprefix(_UNIX)
    if path == address:
        host, _, port = address.rpartition(":")
        return {"host": host, "port": int(port)}
    # Whoever may connect is trusted; it says who asks, which the socket does not.
    return {"uds": path, "forwarded_allow_ips": "*"}
