"""The policy that knows the future: what no policy that has to be written down can beat by much.

Belady's rule, weighed: who leaves is the resident whose bytes save least, by seconds of its next load ÷ (bytes ×
seconds until it is wanted). With equal sizes and load times this is Belady's own rule, the farthest next use first.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from overbook.residency.events import ModelName
from overbook.residency.policy import Standing
from overbook.simulator.traces import Request


class Clairvoyant:
    """An eviction order that has read the whole trace. Looks at every resident each time."""

    def __init__(self, trace: Iterable[Request], names: list[ModelName]) -> None:
        self._uses: dict[ModelName, list[float]] = {}
        for request in trace:
            self._uses.setdefault(names[request.model], []).append(request.time)
        self._next: dict[ModelName, float] = {}
        self._standing: dict[ModelName, Standing] = {}

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        self._standing[model] = standing

    def discard(self, model: ModelName) -> None:
        self._standing.pop(model, None)

    def forget(self, model: ModelName) -> None:
        self.discard(model)

    def order(self, now: float) -> Iterator[ModelName]:
        ranked = sorted(
            (self._saved(model, standing, now), model) for model, standing in self._standing.items()
        )
        return (model for _, model in ranked)

    def _saved(self, model: ModelName, standing: Standing, now: float) -> float:
        """Seconds saved by each of its bytes and each second of keeping it."""
        wanted = self._next.get(model, -math.inf)
        if wanted <= now:
            uses = self._uses.get(model, [])
            place = bisect_right(uses, now)
            wanted = uses[place] if place < len(uses) else math.inf
            self._next[model] = wanted
        if wanted == math.inf:
            return -float(standing.size)
        return standing.load_seconds / (max(1, standing.size) * (wanted - now))
