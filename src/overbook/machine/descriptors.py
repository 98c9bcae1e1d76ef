"""How many files and connections this process and its children may have open."""

from __future__ import annotations

import resource
from typing import Final

# Some programs prepare for as many as they may have: a child need not be told of a billion.
_ENOUGH: Final = 131_072


def allowed() -> int:
    """How many this process may have now."""
    current, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if current == resource.RLIM_INFINITY else current


def raise_limit() -> None:
    """To what the machine allows. The usual limit, 1024, is for programs that cannot cope with more; each request that
    waits for its model has a connection here, and two in Envoy.
    """
    current, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if current == resource.RLIM_INFINITY or current >= _ENOUGH:
        return
    unlimited = allowed == resource.RLIM_INFINITY
    wanted = _ENOUGH if unlimited else min(allowed, _ENOUGH)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, allowed))
