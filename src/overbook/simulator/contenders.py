"""Eviction orders that are compared with the default and did not become it: GDSF, SIEVE, S3-FIFO, decaying counts.

Written for clarity: each looks at every resident when it is asked for an order, which the real one may not.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from overbook.residency.events import ModelName
from overbook.residency.policy import Standing

_Queue = OrderedDict[ModelName, None]

# Share of the bytes that S3-FIFO's small queue may take before its models are judged.
_SMALL_SHARE: Final = 0.1
_MOST_USES: Final = 3


def _by_priority(
    order: Iterable[ModelName], standing: dict[ModelName, Standing]
) -> Iterator[ModelName]:
    return iter(sorted(order, key=lambda model: standing[model].priority))


class _Residents:
    """What the contenders have in common: the standing of every resident."""

    def __init__(self) -> None:
        self._standing: dict[ModelName, Standing] = {}

    def forget(self, model: ModelName) -> None:
        self.discard(model)

    def discard(self, model: ModelName) -> None:
        self._standing.pop(model, None)


class GreedyDualSizeFrequency(_Residents):
    """GDSF with load times as costs: inflation + uses since the load × seconds ÷ bytes; the least leaves."""

    def __init__(self) -> None:
        super().__init__()
        self._inflation = 0.0
        self._uses: dict[ModelName, int] = {}
        self._key: dict[ModelName, float] = {}

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        self._standing[model] = standing
        uses = self._uses[model] = self._uses.get(model, 0) + used
        if used or model not in self._key:
            gain = uses * standing.load_seconds / max(1, standing.size)
            self._key[model] = self._inflation + gain

    def discard(self, model: ModelName) -> None:
        if model in self._standing:
            least = min(self._key[each] for each in self._standing)
            self._inflation = max(self._inflation, least)
            del self._key[model], self._uses[model]
        super().discard(model)

    def order(self, now: float) -> Iterator[ModelName]:
        return _by_priority(sorted(self._key, key=self._key.__getitem__), self._standing)


class DecayingCounts(_Residents):
    """Uses × seconds ÷ bytes, a use counting half after ``half_life`` turnovers of the memory (LRFU with costs)."""

    def __init__(self, half_life: float = 4.0) -> None:
        super().__init__()
        self._half_life = half_life
        self._turnovers = 0.0
        self._uses: dict[ModelName, tuple[float, float]] = {}
        self._key: dict[ModelName, float] = {}

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        new = model not in self._standing
        self._standing[model] = standing
        if new:
            total = sum(each.size for each in self._standing.values())
            self._turnovers += standing.size / max(1, total)
        uses, since = self._uses.get(model, (0.0, self._turnovers))
        if used:
            uses = 1.0 + uses * 2.0 ** ((since - self._turnovers) / self._half_life)
            since = self._turnovers
            self._uses[model] = uses, since
        gain = max(1e-9, uses * standing.load_seconds / max(1, standing.size))
        self._key[model] = math.log2(gain) + since / self._half_life

    def order(self, now: float) -> Iterator[ModelName]:
        ranked = sorted(self._standing, key=self._key.__getitem__)
        return _by_priority(ranked, self._standing)


class Sieve(_Residents):
    """SIEVE: a queue and a hand that spares, once, who was used since it passed last."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: list[ModelName] = []  # oldest first
        self._visited: set[ModelName] = set()
        self._hand = 0

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        if model not in self._standing:
            self._queue.append(model)
        elif used:
            self._visited.add(model)
        self._standing[model] = standing

    def _from_hand(self) -> list[ModelName]:
        return self._queue[self._hand :] + self._queue[: self._hand]

    def discard(self, model: ModelName) -> None:
        if model in self._standing:
            for passed in self._from_hand():
                if passed == model:
                    break
                self._visited.discard(passed)
            self._hand = self._queue.index(model)
            self._queue.remove(model)
            self._visited.discard(model)
            if self._hand >= len(self._queue):
                self._hand = 0
        super().discard(model)

    def order(self, now: float) -> Iterator[ModelName]:
        circle = self._from_hand()
        spared = [model for model in circle if model in self._visited]
        first = [model for model in circle if model not in self._visited]
        return _by_priority(first + spared, self._standing)


class S3Fifo(_Residents):
    """S3-FIFO: newcomers prove themselves in a small queue; those that left it in vain are known when they return."""

    def __init__(self) -> None:
        super().__init__()
        self._small: _Queue = OrderedDict()
        self._main: _Queue = OrderedDict()
        self._ghosts: _Queue = OrderedDict()
        self._uses: dict[ModelName, int] = {}

    def place(self, model: ModelName, standing: Standing, *, used: bool) -> None:
        if model in self._standing:
            if used:
                self._uses[model] = min(_MOST_USES, self._uses[model] + 1)
        else:
            self._uses[model] = 0
            known = self._ghosts.pop(model, 0) is None
            (self._main if known else self._small)[model] = None
        self._standing[model] = standing

    def _leaves(
        self,
        small: _Queue,
        main: _Queue,
        uses: dict[ModelName, int],
    ) -> ModelName:
        """Turn the queues until somebody is at the end of one whom nothing spares."""
        total = sum(each.size for each in self._standing.values())
        while True:
            taken = sum(self._standing[model].size for model in small)
            if small and (taken >= _SMALL_SHARE * total or not main):
                model = next(iter(small))
                if uses[model] <= 1:
                    return model
                del small[model]
                main[model], uses[model] = None, 0
            else:
                model = next(iter(main))
                if not uses[model]:
                    return model
                main.move_to_end(model)
                uses[model] -= 1

    def discard(self, model: ModelName) -> None:
        if model in self._standing:
            if self._leaves(self._small.copy(), self._main.copy(), self._uses.copy()) == model:
                self._leaves(self._small, self._main, self._uses)
            if model in self._small:
                self._ghosts[model] = None
                if len(self._ghosts) > len(self._standing):
                    self._ghosts.popitem(last=False)
            self._small.pop(model, None)
            self._main.pop(model, None)
            del self._uses[model]
        super().discard(model)

    def order(self, now: float) -> Iterator[ModelName]:
        small, main, uses = self._small.copy(), self._main.copy(), self._uses.copy()
        levels = {each.priority for each in self._standing.values()}
        turned = self._turned(small, main, uses)
        return turned if len(levels) < 2 else _by_priority(turned, self._standing)

    def _turned(
        self,
        small: _Queue,
        main: _Queue,
        uses: dict[ModelName, int],
    ) -> Iterator[ModelName]:
        while small or main:
            model = self._leaves(small, main, uses)
            small.pop(model, None)
            main.pop(model, None)
            yield model
