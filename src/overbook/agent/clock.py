"""The two clocks of an agent: one that never jumps, for decisions, and the calendar, for people."""

from __future__ import annotations

import asyncio
import math
import time


class Clock:
    """Seconds. ``now`` is the event loop's monotonic time, so timers and decisions agree."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Unix time."""
        return time.time()

    def to_wall(self, moment: float) -> float:
        """Unix time of a monotonic moment; 0 for never (-inf)."""
        if moment == -math.inf:
            return 0.0
        return self.wall() - (self.now() - moment)

    def from_wall(self, moment: float) -> float:
        """The monotonic moment of a Unix time, which may lie before this machine's start."""
        return self.now() - max(0.0, self.wall() - moment)
