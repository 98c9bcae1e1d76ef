"""Pure: what a benchmark found, against what was promised."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bench.samples import Samples


class Verdict(Enum):
    """How a figure stands to its target."""

    MET = "met"
    NOT_MET = "NOT met"
    NO_TARGET = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A promise: the median is at most, or at least, ``limit``."""

    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Measured:
    """One contestant's measurements. ``name``: who it is; ``unit``: of the values, "" for a plain number."""

    name: str
    samples: Samples
    unit: str


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was asked. ``figure``: what the target is about, a ratio or a value."""

    what: str
    contestants: tuple[Measured, ...]
    figure: Samples
    figure_unit: str
    target: Target | None = None

    @property
    def verdict(self) -> Verdict:
        if self.target is None:
            return Verdict.NO_TARGET
        return Verdict.MET if self.target.holds(self.figure.median) else Verdict.NOT_MET


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark's findings. ``how``: what was compared with what, for the reader of the report."""

    title: str
    how: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


def single(
    what: str, samples: Samples, unit: str, target: Target | None = None, name: str = "Overbook"
) -> Line:
    """A line about one value that is compared with nothing but its target."""
    return Line(what, (Measured(name, samples, unit),), samples, unit, target)
