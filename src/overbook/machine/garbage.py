"""The collector of garbage in a process that serves: what it need not look at."""

from __future__ import annotations

import gc


def settle() -> None:
    """Call it once all is imported. That lives as long as the process, and to walk it stopped everything for 50 ms."""
    gc.collect()
    gc.freeze()
