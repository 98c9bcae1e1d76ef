"""What is asked of the memory: the size of the models that requests waited for, and their pace. Arithmetic only."""

from __future__ import annotations

import math
from typing import Final

# The newest counts for an eighth: about the last ten loads are remembered.
_NEWEST: Final = 1 / 8


class Demand:
    """Loads for requests. ``size``: bytes of a typical one; ``gap``: seconds between two."""

    __slots__ = ("_last", "gap", "size")

    def __init__(self) -> None:
        self.size = 0.0
        self.gap = math.inf  # until there were two
        self._last = -math.inf

    def note(self, size: int, now: float) -> None:
        """A load for a request begins."""
        self.size += (size - self.size) * (_NEWEST if self._last > -math.inf else 1.0)
        gap = now - self._last
        if self.gap == math.inf:
            self.gap = gap
        else:
            self.gap += (gap - self.gap) * _NEWEST
        self._last = now
