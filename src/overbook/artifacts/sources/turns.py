"""Whose turn it is to fetch: slots are fair between sources, and nobody keeps one who brings next to nothing. Pure:
time is an argument.

A free slot goes to the source that has fewest, and there to who has waited longest. A source that waits without having
any gets one from a source that has several, which gives up the one it got last: what it brought is gone on with. And
while others wait, who brings less than a stated rate gives its slot up as well.

What a source is, how bytes are counted and what becomes of who lost its turn is the caller's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

Who = TypeVar("Who", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rules:
    """``slowest``: bytes per second that a turn has to bring, on the average of ``window`` seconds, while others wait.
    ``patience``: seconds that a source without a slot waits until another gives one up for it.
    """

    slowest: float = 8.0 * 1024
    window: float = 60.0
    patience: float = 15.0


class End(Enum):
    """Why a turn has to end."""

    SLOW = "slow"
    GIVES_WAY = "gives way"


@dataclass(slots=True)
class _Waiting:
    source: str
    since: float


@dataclass(slots=True)
class _Holding:
    """``since``, ``came``: where its rate is measured from; seconds, and bytes."""

    source: str
    since: float
    came: int
    ending: bool = False


class Turns(Generic[Who]):
    """``slots``: how many turns there are at a time. A turn that has to end keeps its slot until it gives it back."""

    def __init__(self, slots: int, rules: Rules) -> None:
        self._slots: Final = slots
        self._rules: Final = rules
        # Both in the order in which they came.
        self._waiting: dict[Who, _Waiting] = {}
        self._holding: dict[Who, _Holding] = {}

    @property
    def holding(self) -> Mapping[Who, str]:
        """Who has a slot, and for which source; in the order in which they got it."""
        return {who: each.source for who, each in self._holding.items()}

    @property
    def waiting(self) -> Mapping[Who, str]:
        """Who has none, and for which source; in the order in which they asked."""
        return {who: each.source for who, each in self._waiting.items()}

    def ask(self, who: Who, source: str, now: float) -> None:
        """It wants a slot; `begin` says when it has one. Raises ValueError for who has asked already."""
        if who in self._waiting or who in self._holding:
            raise ValueError(f"{who!r} has asked already")
        self._waiting[who] = _Waiting(source, now)

    def give_back(self, who: Who) -> None:
        """It wants none any more, whether it has one or not."""
        self._waiting.pop(who, None)
        self._holding.pop(who, None)

    def begin(self, now: float, came: Mapping[Who, int]) -> tuple[Who, ...]:
        """Those whose turn begins now. ``came``: bytes that each of those who asked has brought up to now."""
        begun: list[Who] = []
        held = Counter(each.source for each in self._holding.values())
        while self._waiting and len(self._holding) < self._slots:
            who = min(self._waiting, key=lambda each: held[self._waiting[each].source])
            source = self._waiting.pop(who).source
            self._holding[who] = _Holding(source, now, came.get(who, 0))
            held[source] += 1
            begun.append(who)
        return tuple(begun)

    def end(self, now: float, came: Mapping[Who, int]) -> Mapping[Who, End]:
        """Those that have to give their slots back, each told once; to be asked every second or so."""
        ended = dict.fromkeys(self._slow(now, came), End.SLOW) if self._waiting else {}
        self._measured(now, came)
        for who in ended:
            self._holding[who].ending = True
        for who in self._giving_way(now):
            self._holding[who].ending = True
            ended[who] = End.GIVES_WAY
        return ended

    def _slow(self, now: float, came: Mapping[Who, int]) -> list[Who]:
        """No more than there are others who wait, those that have their slots longest first."""
        slow = [
            who
            for who, each in self._holding.items()
            if not each.ending
            and self._is_measured(each, now)
            and came.get(who, 0) - each.came < self._rules.slowest * (now - each.since)
        ]
        return slow[: max(0, len(self._waiting) - self._under_way())]

    def _measured(self, now: float, came: Mapping[Who, int]) -> None:
        for who, each in self._holding.items():
            if self._is_measured(each, now):
                each.since, each.came = now, came.get(who, 0)

    def _is_measured(self, holding: _Holding, now: float) -> bool:
        return now - holding.since >= self._rules.window

    def _under_way(self) -> int:
        """Slots that are coming back."""
        return sum(each.ending for each in self._holding.values())

    def _giving_way(self, now: float) -> list[Who]:
        held = Counter(each.source for each in self._holding.values() if not each.ending)
        none = {
            each.source
            for each in self._waiting.values()
            if not held[each.source] and now - each.since >= self._rules.patience
        }
        giving: list[Who] = []
        for who, each in reversed(self._holding.items()):
            if len(giving) + self._under_way() >= len(none):
                break
            if (
                not each.ending
                and held[each.source] > 1
                and held[each.source] == max(held.values())
            ):
                held[each.source] -= 1
                giving.append(who)
        return giving
