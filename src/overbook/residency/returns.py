"""How soon models are asked for again, learned from all that were: a table of rates. Arithmetic only.

Rows are classes (how often a model was used lately, by powers of two), columns are ages (how long ago its last use
is, by powers of three). A cell's rate is uses ÷ time spent in the cell, where time counts for every model that was
there, whether a use came or not. Older observations fade. A cell that saw little leans on its whole column, and a
column that saw little on the assumption that who was away for a time will be away for about as long again.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

CLASSES: Final = 6
AGES: Final = 9
# The first column is ages below this; each further one reaches three times as far, the last one for ever.
_FIRST: Final = 1 / 64
EDGES: Final = (0.0, *(_FIRST * 3.0**place for place in range(AGES - 1)))

# About the last five thousand uses count.
_KEEP: Final = 0.9998
# The row or column that a cell leans on counts like one use.
_LEAN: Final = 1.0
# Rates are worked out anew after so many uses: they move slowly, and the whole table costs as much as a few loads.
_RENEW: Final = 64
_LARGE: Final = 1e12


def class_of(uses: float) -> int:
    """The row for a number of uses, 1 or more."""
    return min(CLASSES, int(uses).bit_length()) - 1


def age_of(age: float) -> int:
    """The column for an age, 0 or more."""
    return bisect_right(EDGES, age) - 1


class Returns:
    """The table. ``used`` and ``passed`` teach it.

    ``rates``: uses to come per unit of age; the one of (row, column) is at ``row * AGES + column``.
    """

    __slots__ = ("_due", "_spent", "_uses", "_weight", "rates")

    def __init__(self) -> None:
        self._uses = [0.0] * (CLASSES * AGES)
        self._spent = [0.0] * (CLASSES * AGES)
        self._weight = 1.0  # of a use now; it grows, instead of all that was seen shrinking
        self._due = _RENEW
        self.rates = self._work_out()

    def passed(self, row: int, column: int) -> None:
        """A model of the class grew older than the column without a use."""
        width = EDGES[column + 1] - EDGES[column]
        self._spent[row * AGES + column] += width * self._weight

    def used(self, row: int, age: float) -> None:
        """A model of the class was used at that age."""
        column = age_of(age)
        self._weight /= _KEEP
        self._uses[row * AGES + column] += self._weight
        self._spent[row * AGES + column] += (age - EDGES[column]) * self._weight
        if self._weight > _LARGE:
            self._uses = [uses / self._weight for uses in self._uses]
            self._spent = [spent / self._weight for spent in self._spent]
            self._weight = 1.0
        self._due -= 1
        if self._due == 0:
            self._due = _RENEW
            self.rates = self._work_out()

    def _work_out(self) -> list[float]:
        lean = _LEAN * self._weight
        columns = []
        for column in range(AGES):
            assumed = 1 / (EDGES[column] + _FIRST)
            uses = sum(self._uses[column::AGES])
            spent = sum(self._spent[column::AGES])
            columns.append((uses + lean) / (spent + lean / assumed))
        return [
            (uses + lean) / (spent + lean / columns[place % AGES])
            for place, (uses, spent) in enumerate(zip(self._uses, self._spent, strict=True))
        ]
