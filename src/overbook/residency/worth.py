"""The policy that weighs what keeping a model is worth against the bytes it takes.

Theory of operation. A resident byte is worth the waiting that it saves: how soon its model will be asked for again
× the seconds of a load ÷ its bytes. How soon is learned (`returns`) from how often a model was used lately and how
long ago the last use is. Where popularity is steady the first tells nearly all, where users come and go the second;
the table finds out which, so that no trace needs a setting of its own.

Time is measured in *turnovers*: how often the bytes in memory have been replaced. So nothing grows old while
nothing is loaded, a busy and a quiet replica are alike, and all uses between two loads are one, since nothing
competed meanwhile (the table hears of the second, since it tells how safe the latest used are). What is known of
a model outlives its eviction: one that comes back again and again is known to be such, and a scan over models that
nobody else wants leaves as it came.

A model's rate changes as it grows older, but only at the edges of a few age groups, and the same for its whole
class. So each (class, age) keeps its residents sorted by what is their own (seconds ÷ bytes), and the order is a
merge of these lists by rate × own. What was tried and was worse, and all figures: docs/policies.md.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from overbook.residency.events import ModelName
from overbook.residency.policy import Standing
from overbook.residency.returns import AGES, EDGES, Returns, class_of

# Turnovers after which a use counts half.
_HALF_LIFE: Final = 6.0
# Models that grow older in one go: a large load makes many older at once, and no event may cost more for that.
_AGEING: Final = 256
_LEAST_SECONDS: Final = 1e-3

_Seat = tuple[float, float, ModelName]  # own merit, last use, model


@dataclass(slots=True)
class _Known:
    """What is remembered of a model. ``since``: turnovers at its last use; ``turn``: tells its uses apart."""

    model: ModelName
    uses: float = 1.0
    since: float = 0.0
    turn: int = 0
    again: bool = False  # used more than once since the load before
    row: int = 0
    column: int = 0
    bytes: int = 0  # 0: not in memory
    priority: int = 0
    merit: float = 0.0
    last_used: float = 0.0
    cell: tuple[int, int] | None = None  # where its seat is
    seat: _Seat | None = None


class Worth:
    """Least worth per byte first, within the lower priority first."""

    __slots__ = ("_ages", "_bytes", "_cells", "_known", "_moved", "_returns", "_turn", "_turnovers")

    def __init__(self) -> None:
        self._known: dict[ModelName, _Known] = {}
        self._ages: tuple[deque[tuple[float, int, _Known]], ...] = tuple(
            deque() for _ in range(AGES - 1)
        )
        self._cells: dict[int, dict[int, list[_Seat]]] = {}  # by priority; none is empty
        self._moved: dict[ModelName, None] = {}
        self._returns = Returns()
        self._bytes = 0
        self._turn = 0
        self._turnovers = 0.0

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        known = self._known.get(model)
        new = known is None
        if known is None:
            known = self._known[model] = _Known(model)
        size = max(1, standing.size)
        self._bytes += size - known.bytes
        if used and not known.bytes:
            self._turnovers += size / self._bytes
            self._grow_older()
        known.bytes, known.priority, known.last_used = size, standing.priority, standing.last_used
        known.merit = max(_LEAST_SECONDS, standing.load_seconds) / size
        if new:
            known.since = self._turnovers
            self._begin_age(known)
        elif used:
            self._used(known)
        self._moved[model] = None

    def _used(self, known: _Known) -> None:
        age = self._turnovers - known.since
        if not age:
            if not known.again:
                known.again = True
                self._returns.used(known.row, age)
            return
        self._returns.used(known.row, age)
        known.uses = 1.0 + known.uses * 2.0 ** (-age / _HALF_LIFE)
        known.row = class_of(known.uses)
        known.again = False
        known.since = self._turnovers
        self._begin_age(known)

    def _begin_age(self, known: _Known) -> None:
        self._turn += 1
        known.turn, known.column = self._turn, 0
        self._ages[0].append((known.since, known.turn, known))

    def discard(self, model: ModelName) -> None:
        known = self._known.get(model)
        if known is not None and known.bytes:
            self._bytes -= known.bytes
            known.bytes = 0
            self._moved[model] = None

    def forget(self, model: ModelName) -> None:
        self.discard(model)
        known = self._known.pop(model, None)
        if known is not None:
            self._moved.pop(model, None)
            self._stand_up(known)
            known.turn = 0

    def order(self, now: float) -> Iterator[ModelName]:
        for model in self._moved:
            known = self._known[model]
            self._stand_up(known)
            if known.bytes:
                self._sit_down(known)
        self._moved.clear()
        for priority in sorted(self._cells):
            yield from _merged(self._cells[priority], self._returns.rates)

    # -- ages

    def _grow_older(self) -> None:
        left, now = _AGEING, self._turnovers
        for column, queue in enumerate(self._ages):
            if not queue:
                continue
            young = now - EDGES[column + 1]
            while queue and queue[0][0] <= young and left:
                left -= 1
                aged = queue.popleft()
                known = aged[2]
                if known.turn != aged[1]:
                    continue  # it was used since, or is forgotten
                self._returns.passed(known.row, column)
                known.column = column + 1
                if known.bytes:
                    self._moved[known.model] = None
                if column + 2 < AGES:
                    self._ages[column + 1].append(aged)

    # -- seats

    def _sit_down(self, known: _Known) -> None:
        cells = self._cells.setdefault(known.priority, {})
        place = known.row * AGES + known.column
        # Within a class the rate is taken to rise with the uses; in the highest one without end.
        own = known.merit * known.uses / (1 << known.row)
        known.cell, known.seat = (known.priority, place), (own, known.last_used, known.model)
        insort(cells.setdefault(place, []), known.seat)

    def _stand_up(self, known: _Known) -> None:
        if known.cell is None or known.seat is None:
            return
        priority, place = known.cell
        cells = self._cells[priority]
        seats = cells[place]
        del seats[bisect_left(seats, known.seat)]
        if not seats:
            del cells[place]
            if not cells:
                del self._cells[priority]
        known.cell = known.seat = None


def _merged(cells: dict[int, list[_Seat]], rates: list[float]) -> Iterator[ModelName]:
    heads = [(rates[place] * seats[0][0], seats[0][1], place, 0) for place, seats in cells.items()]
    heapq.heapify(heads)
    while heads:
        _, _, place, seat = heads[0]
        seats = cells[place]
        yield seats[seat][2]
        seat += 1
        if seat < len(seats):
            own, last_used, _ = seats[seat]
            heapq.heapreplace(heads, (rates[place] * own, last_used, place, seat))
        else:
            heapq.heappop(heads)
