"""How many files and connections this process and its children may have open."""

from __future__ import annotations

import resource


def raise_limit() -> None:
    """To what the machine allows. The usual limit, 1024, is for programs that cannot cope with more; each request that
    waits for its model has a connection here, and two in Envoy.
    """
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
