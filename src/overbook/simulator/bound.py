"""A bound: no policy that loads on demand into the same budget can wait less. Arithmetic on a trace.

Theory of operation (known from the literature on offline caching as PFOO-L). Between two requests for a model,
either its bytes stay, or it is loaded again and somebody waits for the whole load. Staying takes bytes × requests
in between out of budget × requests, of which there is only so much. If the budget had to be kept only on average
over the trace, the best choice would be to let those stay that save most seconds for what they take, until all is
given out. Keeping it at every moment, waiting for evictions and for a free place among the loads cost more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from overbook.simulator.traces import Request


def least_added(
    trace: Sequence[Request],
    sizes: Sequence[int],
    budget: int,
    load_seconds: Callable[[int], float],
) -> float:
    """Mean seconds of waiting for loads, over all requests, that every policy needs at least."""
    last: dict[int, int] = {}
    intervals: list[tuple[float, float, float]] = []
    total = 0.0
    for place, (_, model) in enumerate(trace):
        size = sizes[model]
        seconds = load_seconds(size)
        total += seconds
        if model in last:
            takes = float(size) * (place - last[model])
            intervals.append((takes / seconds, takes, seconds))
        last[model] = place
    left = float(budget) * len(trace)
    for _, takes, seconds in sorted(intervals):
        if takes >= left:
            total -= seconds * left / takes
            break
        left -= takes
        total -= seconds
    return total / len(trace) if trace else 0.0
