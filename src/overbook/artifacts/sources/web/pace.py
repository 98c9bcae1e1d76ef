"""Keeps a rate: says how long to wait after bytes came. Pure."""

from __future__ import annotations

from typing import Final

_SAVED: Final = 0.25  # seconds of the rate that may be used later, after a lull


class Pace:
    """``rate``: bytes per second of all together who share this, None for as fast as it goes."""

    def __init__(self, rate: int | None) -> None:
        self.rate = rate
        self._even_at = 0.0

    def wait_after(self, count: int, now: float) -> float:
        """Seconds to wait now that ``count`` more bytes are here. ``now``: seconds, of a clock that never goes back."""
        if self.rate is None:
            return 0.0
        self._even_at = max(self._even_at, now - _SAVED) + count / self.rate
        return max(0.0, self._even_at - now)
