"""Who is served first among models that are waited for, when not all of them can be.

Theory of operation. A load serves all who wait for its model, and costs its own time and the room that others leave:
most work per cost first would serve the most requests. But where clients wait for their answers before they ask
again, this makes those who want a large model wait half as long again as in order of arrival, for eight percent more
requests served (docs/policies.md). So cost is tempered until it decides among those who have waited
about equally long, and age among all others.
"""

from __future__ import annotations

from typing import Final

# Work per cost counts by its sixteenth root: who costs 65,536 times as much waits twice as long before its turn.
_TEMPER: Final = 1 / 16
# Seconds: no load costs less.
_QUICKEST: Final = 1e-3
# Seconds: among those who have waited for less, cost decides.
_UNNOTICED: Final = 0.02


def merit(waiting: int, age: float, seconds: float, size: int, budget: int) -> float:
    """Waiting that a load ends, by what it costs. The highest goes first.

    ``waiting`` requests, the first of them for ``age`` seconds. ``seconds`` of the load; its ``size`` in bytes of
    ``budget`` costs too, since what leaves for it has to come back.
    """
    work = waiting / (max(_QUICKEST, seconds) * (1.0 + size / budget))
    return (age + _UNNOTICED) * float(work**_TEMPER)
