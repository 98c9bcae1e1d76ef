"""When tokens are asked for before there is one: where others than this machine's users can connect."""

from __future__ import annotations

import ipaddress


def asks_always(host: str, *, insecure: bool) -> bool:
    """Whether whoever listens at this address asks everybody for a token. A name is somebody else's to give."""
    return not insecure and not is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
