"""One timer of the event loop, set anew as often as somebody's next wake-up moves. What is due is not known here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """``ring`` may come too early: most events only move a wake-up further away, and then the timer stays as it is."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, wake: float) -> None:
        """``wake``: seconds on the clock of the loop; inf: never."""
        if self._timer is not None:
            if self._timer.when() <= wake:
                return
            self.cancel()
        if wake != math.inf:
            self._timer = asyncio.get_running_loop().call_at(wake, self._rings)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._timer = None
        self._ring()
