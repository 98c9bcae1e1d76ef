"""Pure: what Overbook charges, held against the truth, and both as a table of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Smaller models are shown, not judged: what a process rounds is as large as they are.
SMALLEST: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A charge may be off by this share of the truth and so many bytes."""

    share: float
    bytes: int

    def allows(self, charged: int, truth: int) -> bool:
        return abs(charged - truth) <= self.of(truth)

    def of(self, truth: int) -> float:
        return self.share * truth + self.bytes


AT_REST: Final = Tolerance(0.05, 256 * 1024)
UNDER_LOAD: Final = Tolerance(0.10, 512 * 1024)


@dataclass(frozen=True, slots=True)
class Charged:
    """What was said of one model at one time. ``resident``: it was in memory, so that this was charged; else it is what
    would have been. ``bytes``: None when nothing was known.
    """

    bytes: int | None
    resident: bool


@dataclass(frozen=True, slots=True)
class Column:
    """One time of looking. ``said``: by the models' names; a model of which nothing was seen is not there."""

    title: str
    tolerance: Tolerance
    said: Mapping[str, Charged]


@dataclass(frozen=True, slots=True)
class Row:
    """A model, sizes in bytes. ``first``: what it takes as the first of its kind, with what is set up once for all."""

    name: str
    kind: str
    file: int
    truth: int
    first: int

    @property
    def judged(self) -> bool:
        return self.truth > SMALLEST


def farthest(seen: Sequence[Charged], truth: int) -> Charged:
    """The one of several that is farthest from the truth; nothing known is farther than anything."""
    return max(
        seen, key=lambda each: float("inf") if each.bytes is None else abs(each.bytes - truth)
    )


def off(rows: Sequence[Row], column: Column) -> list[str]:
    """The names of the judged models whose charges are not allowed."""
    return [row.name for row in rows if row.judged and not _allowed(row, column)]


def factors(rows: Sequence[Row], column: Column) -> list[float]:
    """Charge by truth of each judged model that something is known of."""
    found = []
    for row in rows:
        said = column.said.get(row.name)
        if row.judged and said is not None and said.bytes is not None:
            found.append(said.bytes / row.truth)
    return found


def _allowed(row: Row, column: Column) -> bool:
    said = column.said.get(row.name)
    if said is None:
        return True
    return said.bytes is not None and column.tolerance.allows(said.bytes, row.truth)


def allowed_at_once(truths: Sequence[int], budget: int) -> int:
    """How many of these fit at the same time."""
    total = count = 0
    for truth in sorted(truths):
        total += truth
        if total > budget:
            break
        count += 1
    return count


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Sizes in MB. **Bold**: off by more than allowed; (in brackets): not in memory just then."""
    titles = ["model", "kind", "file", "truth", "first", *(column.title for column in columns)]
    lines = [_line(titles), _line(["---"] * len(titles))]
    for row in rows:
        cells = [row.name, row.kind, *map(_megabytes, (row.file, row.truth, row.first))]
        lines.append(_line([*cells, *(_cell(row, column) for column in columns)]))
    return "\n".join(lines) + "\n"


def _cell(row: Row, column: Column) -> str:
    said = column.said.get(row.name)
    if said is None:
        return "–"
    text = "unknown" if said.bytes is None else _megabytes(said.bytes)
    if not said.resident:
        text = f"({text})"
    return f"**{text}**" if row.judged and not _allowed(row, column) else text


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
