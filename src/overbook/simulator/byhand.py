"""The same server driven by hand: in order of arrival, least recently used, with all sizes and uses known.

What somebody would write who knows nothing of residency: no gateway, no meter, no fairness, no choice. It is what
the real core is measured by under thrash. Virtual time; deterministic.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from overbook.simulator.simulation import Delays, Result, Workers


class ByHand:
    """Clients in a closed loop, a server, and a driver that loads what the first in line waits for."""

    def __init__(self, budget: int, delays: Delays, sizes: Sequence[int]) -> None:
        self._delays = delays
        self._sizes = sizes
        self._free = budget
        self._now = 0.0
        self._serial = 0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._workers = Workers(delays.workers, self._at)
        self._resident: OrderedDict[int, None] = OrderedDict()  # least recently used first
        self._in_flight: dict[int, int] = {}
        self._waiting: dict[int, list[float]] = {}  # arrivals, by model
        self._line: deque[int] = deque()  # models that nobody loads yet
        self._asked: Iterator[int] = iter(())
        self.result = Result()

    def run(self, asked: Iterable[int], *, clients: int) -> None:
        """Each client waits for its answer before it asks for the next model."""
        self._asked = iter(asked)
        for _ in range(clients):
            self._ask()
        while self._agenda:
            self._now, _, action = heapq.heappop(self._agenda)
            action()
        self.result.virtual_seconds = self._now

    def _at(self, delay: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._agenda, (self._now + delay, self._serial, action))

    def _ask(self) -> None:
        model = next(self._asked, None)
        if model is None:
            return
        self.result.requests += 1
        if model in self._resident:
            self.result.hits += 1
            self._infer(model, self._now)
        elif model in self._waiting:
            self._waiting[model].append(self._now)
        else:
            self._waiting[model] = [self._now]
            self._line.append(model)
            self._serve()

    def _serve(self) -> None:
        """Begin loads in order of arrival. Where only models in use are left, all wait behind the first in line."""
        while self._line and self._workers.idle:
            size, freed = self._sizes[self._line[0]], self._free
            leaving: list[int] = []
            for model in self._resident:
                if freed >= size:
                    break
                if not self._in_flight.get(model):
                    leaving.append(model)
                    freed += self._sizes[model]
            if freed < size:
                return
            for model in leaving:
                del self._resident[model]
            self.result.evictions += len(leaving)
            self.result.loads += 1
            self._free = freed - size
            seconds = (
                self._delays.load_base
                + size * self._delays.load_per_byte
                + len(leaving) * self._delays.unload
            )
            self._workers.begin(seconds, partial(self._loaded, self._line.popleft()))

    def _loaded(self, model: int) -> None:
        self._resident[model] = None
        for arrived in self._waiting.pop(model):
            self.result.added.append(self._now - arrived)
            self._infer(model, arrived)
        self._serve()

    def _infer(self, model: int, arrived: float) -> None:
        self._resident.move_to_end(model)
        self._in_flight[model] = self._in_flight.get(model, 0) + 1
        self._at(self._delays.inference, partial(self._inferred, model, arrived))

    def _inferred(self, model: int, arrived: float) -> None:
        self._in_flight[model] -= 1
        self.result.latencies.append(self._now - arrived)
        self._ask()
        self._serve()
