"""Whether a prediction that lets go of the interpreter is worth a thread: imports nothing of MLServer."""

from __future__ import annotations

# A hop to a thread and back costs 0.2 ms (median); other requests wait this long at most for one that stays.
_ASIDE_SECONDS = 0.001


class PredictionCost:
    """How long a prediction of so many elements is likely to take, by what the last ones of this model took."""

    def __init__(self) -> None:
        self._fixed = float("inf")
        self._per_element = 0.0

    def is_short(self, elements: int) -> bool:
        """Whether it may run on the event loop. The first may not: nothing is known of it."""
        return max(self._fixed, self._per_element * elements) < _ASIDE_SECONDS

    def took(self, elements: int, seconds: float) -> None:
        self._per_element = seconds / max(1, elements)
        self._fixed = min(self._fixed, seconds)
