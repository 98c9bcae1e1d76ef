"""Keeps what is in the memory of this process out of files on its machine when it crashes: secrets are there."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

# Which parts of the memory a dump holds: Linux, for this process and its children.
_FILTER = Path("/proc/self/coredump_filter")


def switch_off() -> None:
    """No core dumps, of children neither; whoever needs one of a child can raise its limit again.

    A limit of 0 does not keep the kernel from handing a dump to a program (`core_pattern` with a pipe): that gets
    one in which nothing is.
    """
    _, allowed = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, allowed))
    with contextlib.suppress(OSError):
        _FILTER.write_text("0")
