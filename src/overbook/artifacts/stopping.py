"""How work that blocks in a thread is told that nobody waits for it any more."""

from __future__ import annotations

from collections.abc import Callable

# Called now and then by the work; what it raises ends it.
CheckStopped = Callable[[], None]


def never() -> None:
    """For work that nobody stops."""
