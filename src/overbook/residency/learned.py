"""What is learned while serving: how long loads take, and what is asked of the memory. Arithmetic only.

Load times are what was seen of a model itself, else what models of its size took: the line through (bytes, seconds) is
fitted by least squares in which older loads count less. Until enough was seen, an assumed line counts like a few loads.
Demand is the size of the models that requests waited for, and their pace.
"""

from __future__ import annotations

import math
from typing import Final

# Assumed: 50 ms, and 500 MB a second.
_BASE: Final = 0.05
_PER_BYTE: Final = 1 / 500e6
_ASSUMED_SIZES: Final = (1e6, 1e8, 1e9)
# Weight of what is known when one more load is seen: about the last hundred loads count.
_KEEP: Final = 0.99
# A model's own loads: the newest counts for a third.
_OWN: Final = 1 / 3
# The newest counts for an eighth: about the last ten loads are remembered.
_NEWEST: Final = 1 / 8


class LoadTimes:
    """Seconds by bytes, learned from loads."""

    __slots__ = ("_base", "_n", "_s", "_slope", "_ss", "_st", "_t")

    def __init__(self) -> None:
        self._n = self._s = self._t = self._ss = self._st = 0.0
        for size in _ASSUMED_SIZES:
            self._add(size, _BASE + size * _PER_BYTE)
        self._base, self._slope = self._line()

    def _add(self, size: float, seconds: float) -> None:
        self._n += 1
        self._s += size
        self._t += seconds
        self._ss += size * size
        self._st += size * seconds

    def observe(self, size: int, seconds: float, before: float | None) -> float:
        """A load of so many bytes took so long. Returns what its model's next is expected to take."""
        self._n *= _KEEP
        self._s *= _KEEP
        self._t *= _KEEP
        self._ss *= _KEEP
        self._st *= _KEEP
        self._add(size, seconds)
        self._base, self._slope = self._line()
        return seconds if before is None else before + _OWN * (seconds - before)

    def expect(self, size: int) -> float:
        """Seconds for a model of which no load was seen; above 0."""
        return max(0.001, self._base + self._slope * size)

    def _line(self) -> tuple[float, float]:
        """Seconds of a load of no bytes, and for each byte; neither is below 0."""
        spread = self._n * self._ss - self._s * self._s
        slope = (self._n * self._st - self._s * self._t) / spread if spread > 0 else 0.0
        slope = max(0.0, slope)
        return max(0.0, (self._t - slope * self._s) / self._n), slope


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
