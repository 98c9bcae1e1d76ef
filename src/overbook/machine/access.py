"""When tokens are asked for before there is one: where others than this machine's users can connect."""

from __future__ import annotations

from overbook.wire.targets import is_loopback


def asks_always(host: str, *, insecure: bool) -> bool:
    """Whether whoever listens at this address asks everybody for a token. A name is somebody else's to give."""
    return not insecure and not is_loopback(host)
