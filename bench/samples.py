"""Pure: what repeated measurements say. No clock and no I/O here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one quantity, all in one unit. Raises ValueError when there are none."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("samples: there are none; at least one measurement is needed")
        if not all(math.isfinite(value) for value in self.values):
            raise ValueError(f"samples: {self.values} has a value that is not a number")

    @staticmethod
    def of(values: Sequence[float]) -> Samples:
        return Samples(tuple(float(value) for value in values))

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def percentile(self, percent: float) -> float:
        """The smallest value that so many percent of all do not exceed (nearest rank)."""
        if not 0 < percent <= 100:
            raise ValueError(f"percentile: {percent}, expected more than 0 and at most 100")
        ordered = sorted(self.values)
        return ordered[math.ceil(percent / 100 * len(ordered)) - 1]

    def times(self, factor: float) -> Samples:
        """The same in another unit."""
        return Samples(tuple(value * factor for value in self.values))


def ratios(measured: Samples, reference: Samples) -> Samples:
    """Round by round: what disturbed a round disturbed both contestants.

    Raises ValueError when the rounds differ in number or the reference is zero.
    """
    pairs = zip(measured.values, reference.values, strict=True)
    if 0 in reference.values:
        raise ValueError(f"ratios: the reference is zero in a round: {reference.values}")
    return Samples(tuple(mine / other for mine, other in pairs))


def differences(measured: Samples, *references: Samples) -> Samples:
    """Sample by sample: the measured value minus all the references. Raises ValueError as `ratios`."""
    rows = zip(measured.values, *(each.values for each in references), strict=True)
    return Samples(tuple(row[0] - sum(row[1:]) for row in rows))
